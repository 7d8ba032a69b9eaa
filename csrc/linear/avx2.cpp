#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/bfloat16.hpp"
#include "linear/linear.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::linear {
namespace {

#include "cpu/vectors_avx2.inl"
// The kernel, of these vectors.
#include "linear/rows.inl"
// How words are multiplied.
#include "cpu/words_avx2.inl"

}  // namespace

void avx2_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  if (problem.bfloat16) {
    Block<Floats, std::uint16_t>{problem, first, last - first}.run();
  } else {
    Block<Floats, float>{problem, first, last - first}.run();
  }
}

void avx2_words_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  Block<Words, std::uint16_t>{problem, first, last - first}.run();
}

}  // namespace lic_fast::linear

#endif
