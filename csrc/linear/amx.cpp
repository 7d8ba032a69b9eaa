// Products of bfloat16 by tiles of AMX.

#include "linear/linear.hpp"

#ifdef LIC_FAST_TILES

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
#include "cpu/tiles.hpp"

#define LIC_FAST_TARGET LIC_FAST_AMX

namespace lic_fast::linear {
namespace {

#define LIC_FAST_BFLOAT16_STORES
#include "cpu/vectors_avx512.inl"
// The kernel, of these vectors.
#include "linear/tiles.inl"

}  // namespace

void amx_tiles_kernel(const Problem& problem, std::size_t first, std::size_t last) {
  Tiles{problem}.run(first, last);
}

}  // namespace lic_fast::linear

#endif
