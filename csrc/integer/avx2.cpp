#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "integer/exact.hpp"
#include "integer/kernels.hpp"

#define LIC_FAST_TARGET LIC_FAST_AVX2

namespace lic_fast::integer {
namespace {

constexpr std::size_t kPixels = 4, kBlocks = 1, kLanes = 8;
constexpr std::size_t kTiles = 6, kWinogradBlocks = 1, kWords = 16;

struct Sums {
  struct Factors {
    __m256i low, high;
  };
  __m256i low, high;

  LIC_FAST_TARGET LIC_FAST_INLINE static Sums zero() {
    return {_mm256_setzero_si256(), _mm256_setzero_si256()};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Factors load(const std::int8_t* weights) {
    const auto* const vectors = reinterpret_cast<const __m256i*>(weights);
    return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Factors load(const std::int16_t* weights) {
    const auto* const vectors = reinterpret_cast<const __m256i*>(weights);
    return {_mm256_loadu_si256(vectors), _mm256_loadu_si256(vectors + 1)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m256i pair(const std::int16_t* x) {
    std::int32_t both = 0;
    std::memcpy(&both, x, sizeof(both));
    return _mm256_set1_epi32(both);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m256i four(const std::uint8_t* x) {
    std::int32_t bytes = 0;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm256_set1_epi32(bytes);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), low);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to) + 1, high);
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Sums shifted(Sums sums) {
  return {_mm256_slli_epi32(sums.low, kHalfBits), _mm256_slli_epi32(sums.high, kHalfBits)};
}

/// Sums of pairs fit 16 bits, as activations have 7: see conv.hpp.
LIC_FAST_TARGET LIC_FAST_INLINE __m256i added(__m256i sum, __m256i x, __m256i weights) {
  const __m256i pairs = _mm256_maddubs_epi16(x, weights);
  return _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums added(Sums sums, __m256i x, Sums::Factors weights) {
  return {added(sums.low, x, weights.low), added(sums.high, x, weights.high)};
}

LIC_FAST_TARGET LIC_FAST_INLINE Sums with_products(Sums sums, __m256i x, Sums::Factors weights) {
  return {_mm256_add_epi32(sums.low, _mm256_madd_epi16(x, weights.low)),
          _mm256_add_epi32(sums.high, _mm256_madd_epi16(x, weights.high))};
}

/// kLanes int32, or pairs of int16.
struct Ints {
  __m256i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Ints zero() { return {_mm256_setzero_si256()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints all(std::int32_t x) { return {_mm256_set1_epi32(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints load(const std::int32_t* x) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints pair(const std::int16_t* x) {
    std::int32_t both = 0;
    std::memcpy(&both, x, sizeof(both));
    return {_mm256_set1_epi32(both)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v);
  }
  template <class F>
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints of(F x) {
    return {_mm256_cvtps_epi32(x.v)};
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Ints operator+(Ints a, Ints b) {
  return {_mm256_add_epi32(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints operator-(Ints a, Ints b) {
  return {_mm256_sub_epi32(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints operator*(Ints a, Ints b) {
  return {_mm256_mullo_epi32(a.v, b.v)};
}
template <int kPower>
LIC_FAST_TARGET LIC_FAST_INLINE Ints quotient(Ints x) {
  return {_mm256_srai_epi32(x.v, kPower)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints shifted(Ints x) { return {_mm256_slli_epi32(x.v, kHalfBits)}; }
LIC_FAST_TARGET LIC_FAST_INLINE Ints with_products(Ints sums, Ints x, Ints y) {
  return {_mm256_add_epi32(sums.v, _mm256_madd_epi16(x.v, y.v))};
}
LIC_FAST_TARGET LIC_FAST_INLINE std::int32_t sum(Ints x) {
  const __m128i four = _mm_add_epi32(_mm256_castsi256_si128(x.v), _mm256_extracti128_si256(x.v, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

LIC_FAST_TARGET LIC_FAST_INLINE void prefetch(const std::int16_t* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}

/// kWords uint8.
struct Bytes {
  __m128i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Bytes zero() { return {_mm_setzero_si128()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Bytes load(const std::uint8_t* x) {
    return {_mm_loadu_si128(reinterpret_cast<const __m128i*>(x))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE bool in_range() const { return _mm_movemask_epi8(v) == 0; }
};

LIC_FAST_TARGET LIC_FAST_INLINE Bytes operator|(Bytes a, Bytes b) {
  return {_mm_or_si128(a.v, b.v)};
}

/// kWords int16.
struct Words {
  __m256i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Words of(Bytes x) { return {_mm256_cvtepu8_epi16(x.v)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Words load(const std::int8_t* x) {
    return {_mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Words all(std::int16_t x) {
    return {_mm256_set1_epi16(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int16_t* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), v);
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Words operator+(Words a, Words b) {
  return {_mm256_add_epi16(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Words operator-(Words a, Words b) {
  return {_mm256_sub_epi16(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Words shifted(Words x) {
  return {_mm256_slli_epi16(x.v, kHalfBits)};
}

struct Floats {
  __m256 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Floats of(Ints x) { return {_mm256_cvtepi32_ps(x.v)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE void store_words(std::int16_t* to) const {
    const __m256i x = _mm256_cvtps_epi32(v);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to),
                     _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static Floats all(float x) { return {_mm256_set1_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Floats load(const float* x) {
    return {_mm256_loadu_ps(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Floats sums(const std::int32_t* x,
                                                     const std::int32_t* bias) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bias));
    return {_mm256_cvtepi32_ps(_mm256_add_epi32(a, b))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* to) const { _mm256_storeu_ps(to, v); }
  LIC_FAST_TARGET LIC_FAST_INLINE void store_halves(std::uint8_t* high, std::uint8_t* low) const {
    const __m256i x = _mm256_cvtps_epi32(v);
    if (high != nullptr) store(high, _mm256_srli_epi32(x, kHalfBits));
    if (low != nullptr) store(low, _mm256_and_si256(x, _mm256_set1_epi32(kHalfTop)));
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static void store(std::uint8_t* to, __m256i x) {
    const __m128i words =
        _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(to), _mm_packus_epi16(words, words));
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Floats operator+(Floats a, Floats b) {
  return {_mm256_add_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator-(Floats a, Floats b) {
  return {_mm256_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator*(Floats a, Floats b) {
  return {_mm256_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator/(Floats a, Floats b) {
  return {_mm256_div_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats at_least(Floats x, Floats low) {
  return {_mm256_max_ps(x.v, low.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE float largest(Floats x) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(x.v), _mm256_extractf128_ps(x.v, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats at_most(Floats x, Floats high) {
  return {_mm256_min_ps(x.v, high.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats rounded(Floats x) {
  return {_mm256_round_ps(x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats positive_or(Floats x, Floats other) {
  return {_mm256_blendv_ps(other.v, x.v, _mm256_cmp_ps(x.v, _mm256_setzero_ps(), _CMP_GT_OQ))};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats magnitude(Floats x) {
  return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), x.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats with_sign_of(Floats x, Floats sign) {
  return {_mm256_or_ps(magnitude(x).v, _mm256_and_ps(_mm256_set1_ps(-0.0f), sign.v))};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats power_of_two(Floats n) {
  const __m256i exponent = _mm256_add_epi32(_mm256_cvtps_epi32(n.v), _mm256_set1_epi32(127));
  return {_mm256_castsi256_ps(_mm256_slli_epi32(exponent, 23))};
}

#include "integer/kernels.inl"

}  // namespace

const Kernels kAvx2Kernels{&Kernel::run,
                           false,
                           &Pointwise::run,
                           {&Winograd<Two>::run, &Winograd<Four>::run},
                           1,
                           4,
                           &Elements::quantize,
                           &Elements::add_residual,
                           &Elements::gated,
                           &Transformer::sigmoid,
                           &Transformer::words,
                           &Transformer::layer_norm,
                           &Transformer::attend};

}  // namespace lic_fast::integer

#endif
