#!/usr/bin/env bash
# Tests and fuzzes the C++ core under AddressSanitizer and UndefinedBehaviorSanitizer.
#
#   tests/csrc/run.sh [SECONDS] [SEED]     20 seconds of fuzzing with seed 1 by default
#
# Needs g++ 8 or newer. With clang, libFuzzer can take fuzz_ans.cpp as it is:
#   clang++ -std=c++17 -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc -Itests/csrc \
#     tests/csrc/fuzz_ans.cpp -o fuzz
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

seconds=${1:-20}
seed=${2:-1}
build=build/sanitize
flags=(-std=c++17 -g -O1 -Wall -Wextra -Wconversion -Werror -D_GLIBCXX_ASSERTIONS
  -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
  -Icsrc -Itests/csrc)

mkdir -p "$build"
compile() { "${CXX:-g++}" "${flags[@]}" "$@"; }

compile tests/csrc/test_rans.cpp -o "$build/test_rans"
"$build/test_rans"

compile -c -fsanitize-coverage=trace-pc tests/csrc/fuzz_ans.cpp -o "$build/fuzz_ans.o"
compile "$build/fuzz_ans.o" tests/csrc/fuzz_main.cpp -o "$build/fuzz_ans"
cd "$build"
./fuzz_ans "$seconds" "$seed"
