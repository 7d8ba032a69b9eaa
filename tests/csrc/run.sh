#!/usr/bin/env bash
# Tests and fuzzes the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer, and tests
# its threads under ThreadSanitizer.
#
#   tests/csrc/run.sh [SECONDS] [SEED]     20 seconds of fuzzing per target with seed 1 by default
#
# Needs g++ 8 or newer. With clang, libFuzzer can take the targets and corpora as they are:
#   clang++ -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc -Itests/csrc \
#     tests/csrc/fuzz_rans.cpp csrc/rans/kernels*.cpp -o fuzz && ./fuzz tests/csrc/corpus/rans
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-20}
seed=${2:-1}
build=build/sanitize
flags=(-std=c++17 -g1 -O1 -ffp-contract=off -Wall -Wextra -Wconversion -Werror -D_GLIBCXX_ASSERTIONS
  -DLIC_FAST_ROLLED -fno-sanitize-recover=all -fno-omit-frame-pointer -Icsrc -Itests/csrc)
memory=-fsanitize=address,undefined
kernels=(csrc/rans/kernels.cpp csrc/rans/kernels_avx2.cpp csrc/rans/kernels_avx512.cpp)

mkdir -p "$build"
compile() { "${CXX:-g++}" "${flags[@]}" "$@"; }

# Compiles files side by side, each once for one sanitizer: objects NAME FLAGS FILE..., and has
# their objects in the array `made`.
objects() {
  local name=$1 sanitizer=$2
  shift 2
  mkdir -p "$build/$name"
  made=()
  for file; do made+=("$build/$name/$(tr / _ <<<"${file%.cpp}").o"); done
  printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c '
    object=$0/$(tr / _ <<<"${1%.cpp}").o
    [[ -f $object ]] || { "${@:2}" -c "$1" -o "$object.part" && mv "$object.part" "$object"; }
  ' "$build/$name" {} "${CXX:-g++}" "${flags[@]}" "$sanitizer" -pthread
}
rm -rf "$build/memory" "$build/threads"

# Those that take longest first.
maps=(csrc/winograd/{avx512,scalar,avx2,winograd,avx512vnni}.cpp
  csrc/attention/{window_attention,scalar,avx2,avx512,amx}.cpp
  csrc/channels/{channels,scalar,avx2,avx512}.cpp
  csrc/linear/{linear,scalar,avx2,avx512,avx512_pairs,avx512vnni_words,amx}.cpp
  csrc/direct/{avx512,avx2,scalar,convolution}.cpp
  csrc/cpu/copy.cpp csrc/tiles/{amx,convolution}.cpp)
integer=(csrc/integer/{conv,winograd,layer,elements,kernels,scalar,avx2,avx512,avx512vnni,amx}.cpp)
program=(csrc/integer/{program,program_checks,transformer,conv,winograd,layer,kernels}.cpp
  csrc/integer/{scalar,avx2,avx512,avx512vnni,amx}.cpp)
bands=(csrc/program/{graph,schedule,planner,executor,convert,program,pixel_nodes}.cpp)

# Runs tests/csrc/test_NAME.cpp with files: check NAME OBJECTS FLAGS FILE...
check() {
  local test=$1 name=$2 sanitizer=$3
  shift 3
  objects "$name" "$sanitizer" "$@" "tests/csrc/test_$test.cpp"
  compile "$sanitizer" -pthread "${made[@]}" -o "$build/test_${test}_$name"
  "$build/test_${test}_$name"
}
check rans memory $memory
check maps memory $memory "${maps[@]}"
check row_ranges memory $memory "${maps[@]}" csrc/program/attention.cpp
check convolutions memory $memory "${maps[@]}" csrc/program/convolution.cpp
check integer memory $memory "${integer[@]}"
check program memory $memory "${program[@]}"
check transformer memory $memory "${program[@]}"
check bands memory $memory "${bands[@]}"
check program threads -fsanitize=thread "${program[@]}"
check bands threads -fsanitize=thread "${bands[@]}"
check threads threads -fsanitize=thread "${kernels[@]}"

# The driver counts what the targets reach, and so is compiled without counting itself.
objects=()
for kernel in "${kernels[@]}"; do
  object="$build/$(basename "$kernel" .cpp).o"
  compile $memory -c -fsanitize-coverage=trace-pc "$kernel" -o "$object"
  objects+=("$object")
done
fuzz() {
  compile $memory -c -fsanitize-coverage=trace-pc "tests/csrc/fuzz_$1.cpp" -o "$build/fuzz_$1.o"
  compile $memory -pthread "$build/fuzz_$1.o" "${objects[@]}" tests/csrc/fuzz_main.cpp \
    -o "$build/fuzz_$1"
  (cd "$build" && "./fuzz_$1" "$seconds" "$seed" "../../tests/csrc/corpus/$1")
}
fuzz ans &
first=$!
fuzz rans
wait "$first"
