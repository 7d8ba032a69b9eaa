#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "cpu/bfloat16.hpp"
#include "winograd/winograd.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::winograd {
namespace {

#include "cpu/vectors_avx2.inl"
// The kernel, of these vectors.
#include "winograd/tiles.inl"
// How words are multiplied.
#include "cpu/words_avx2.inl"
// Their kernel.
#include "winograd/words.inl"

}  // namespace

const Kernels kAvx2Kernels = {kTogether, &read_tiles, &filter_panels, &multiply_panels,
                              &write_tiles};
const WordKernels kAvx2WordKernels = {&read_words, &multiply_words};

}  // namespace lic_fast::winograd

#endif
