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
# -g1: lines, but not where each vector of an unrolled kernel is, which takes minutes to find out.
flags=(-std=c++17 -g1 -O1 -ffp-contract=off -Wall -Wextra -Wconversion -Werror -D_GLIBCXX_ASSERTIONS
  -fno-sanitize-recover=all -fno-omit-frame-pointer -Icsrc -Itests/csrc)
memory=-fsanitize=address,undefined
kernels=(csrc/rans/kernels.cpp csrc/rans/kernels_avx2.cpp csrc/rans/kernels_avx512.cpp)

mkdir -p "$build"
compile() { "${CXX:-g++}" "${flags[@]}" "$@"; }

compile $memory tests/csrc/test_rans.cpp -o "$build/test_rans"
"$build/test_rans"

integer=(csrc/integer/{conv,winograd,layer,elements,kernels,scalar,avx2,avx512,avx512vnni}.cpp)
compile $memory -pthread tests/csrc/test_integer.cpp "${integer[@]}" -o "$build/test_integer"

"$build/test_integer"

compile $memory -pthread tests/csrc/test_maps.cpp \
  csrc/attention/{window_attention,scalar,avx2,avx512}.cpp \
  csrc/channels/{channels,scalar,avx2,avx512}.cpp \
  csrc/winograd/{winograd,scalar,avx2,avx512}.cpp -o "$build/test_maps"
"$build/test_maps"

program=(
  csrc/integer/{program,transformer,conv,winograd,layer,kernels,scalar,avx2,avx512,avx512vnni}.cpp)
compile $memory -pthread tests/csrc/test_program.cpp "${program[@]}" -o "$build/test_program"
"$build/test_program"
compile -fsanitize=thread -pthread tests/csrc/test_program.cpp "${program[@]}" \
  -o "$build/test_program_threads"
"$build/test_program_threads"

compile -fsanitize=thread -pthread tests/csrc/test_threads.cpp "${kernels[@]}" \
  -o "$build/test_threads"
"$build/test_threads"

# The driver counts what the targets reach, and so is compiled without counting itself.
objects=()
for kernel in "${kernels[@]}"; do
  object="$build/$(basename "$kernel" .cpp).o"
  compile $memory -c -fsanitize-coverage=trace-pc "$kernel" -o "$object"
  objects+=("$object")
done
for target in ans rans; do
  compile $memory -c -fsanitize-coverage=trace-pc "tests/csrc/fuzz_$target.cpp" \
    -o "$build/fuzz_$target.o"
  compile $memory -pthread "$build/fuzz_$target.o" "${objects[@]}" tests/csrc/fuzz_main.cpp \
    -o "$build/fuzz_$target"
  (cd "$build" && "./fuzz_$target" "$seconds" "$seed" "../../tests/csrc/corpus/$target")
done
