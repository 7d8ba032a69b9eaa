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

#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"
#include "winograd/winograd.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX512VNNI

namespace lic_fast::winograd {
namespace {

#include "cpu/vectors_avx512.inl"
// Products, of these vectors.
#include "cpu/products.inl"
// How words are multiplied.
#include "cpu/words_avx512vnni.inl"
// Their kernel.
#include "winograd/words.inl"

}  // namespace

const WordKernels kAvx512VnniWordKernels = {&read_words, &multiply_words};

}  // namespace lic_fast::winograd

#endif
