// Products of words of 16 bits, two at once, of AVX512-VNNI.

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
// The products, of these vectors.
#include "cpu/products.inl"

/// Two words at once; what looks like floats are sums of 32 bits.
struct Words : TwoAtOnce<std::int16_t> {
  LIC_FAST_TARGET LIC_FAST_INLINE static Vector accumulate(Vector sum, Vector x, Vector w) {
    return {_mm512_castsi512_ps(_mm512_dpwssd_epi32(
        _mm512_castps_si512(sum.v), _mm512_castps_si512(x.v), _mm512_castps_si512(w.v)))};
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Vector magnitude(Vector x) {
  return maximum(subtract(Vector::zero(), x), x);
}

}  // namespace

LIC_FAST_TARGET void read_words(const Weights& w, const WordBlock& block, std::size_t tile,
                                const float* numbers) {
  const std::size_t channels = w.in_channels;
  const std::size_t from = place_size(1, channels), to = word_place_size(block.count, channels);
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const float* const x = numbers + place * from;
    Vector most = Vector::zero(), none = Vector::zero();
    for (std::size_t c = 0; c < channels; c += kWidth) {
      const Vector v = Vector::load(x + c);
      most = maximum(magnitude(v), most);
      none = fused(v, Vector::zero(), none);  // no number for such and for infinity
    }
    const float top = _mm512_reduce_max_ps(most.v) + total(none), limit = w.limits()[place];
    block.scales[place * block.count + tile] = top / limit;
    // Numbers so small that this is infinite are none beside any others.
    const float factor = limit / top;
    const Vector inverse = Vector::all(factor <= 3e38f ? factor : 0);
    std::int16_t* const out = block.inputs + place * to + tile * channels;
    for (std::size_t c = 0; c < channels; c += kWidth) {
      const __m512i words = _mm512_cvtps_epi32(multiply(Vector::load(x + c), inverse).v);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + c), _mm512_cvtsepi32_epi16(words));
    }
  }
}

LIC_FAST_TARGET void multiply_words(const Weights& w, const WordBlock& block, const Panels& panels,
                                    float* products) {
  const std::size_t channels = w.in_channels, inputs = word_place_size(block.count, channels);
  const std::size_t across = panels.count * kPanel, distance = place_size(block.count, across);
  for (std::size_t place = 0; place < kPlaces; ++place) {
    for (std::size_t first = 0; first < channels; first += kSummed) {
      const std::size_t steps = std::min(kSummed, channels - first) / 2;
      const std::int16_t* const own = w.words(panels.first) + (place * channels + first) * kPanel;
      const std::int16_t* const x = block.inputs + place * inputs + first;
      for (std::size_t t = 0; t < block.count; t += kRows) {
        const std::size_t tiles = std::min(kRows, block.count - t);
        alignas(64) float sums[kRows * kMostPanels * kPanel];
        multiplication<Words>(tiles, panels.count)(x + t * channels, channels, own, w.panel_size(),
                                                   steps, nullptr, sums);
        for (std::size_t i = 0; i < tiles; ++i) {
          const Vector scale = Vector::all(block.scales[place * block.count + t + i]);
          float* const out = products + place * distance + (t + i) * across;
          for (std::size_t panel = 0; panel < panels.count; ++panel) {
            const Vector sum = Vector::load(sums + i * across + panel * kPanel);
            const Vector number{_mm512_cvtepi32_ps(_mm512_castps_si512(sum.v))};
            const Vector both =
                multiply(scale, Vector::load(w.scales(panels.first + panel) + place * kPanel));
            const Vector before = first == 0 ? Vector::zero() : Vector::load(out + panel * kPanel);
            fused(number, both, before).store(out + panel * kPanel);
          }
        }
      }
    }
  }
}

}  // namespace lic_fast::winograd

#endif
