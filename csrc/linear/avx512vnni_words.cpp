// Products of words.

#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"
#include "linear/linear.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512VNNI

namespace lic_fast::linear {
namespace {

#include "cpu/vectors_avx512.inl"
// The kernel, of these vectors.
#include "linear/rows.inl"
// How words are multiplied.
#include "cpu/words_avx512vnni.inl"

}  // namespace

void avx512vnni_words_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  Block<Words, std::uint16_t>{problem, first, last - first}.run();
}

}  // namespace lic_fast::linear

#endif
