// Vectors of AVX-512, for the files that include this with LIC_FAST_TARGET.
//
// The masked forms with every lane: GCC 12 warns of an uninitialised operand inside the others.

// Of the 32 registers 24 hold sums, and two the weights.
constexpr std::size_t kPixels = 12, kBlocks = 2, kLanes = 16;
constexpr std::size_t kTiles = 12, kWinogradBlocks = 2, kWords = 32;
constexpr __mmask16 kAll = 0xFFFF;

struct Sums {
  using Factors = __m512i;
  __m512i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Sums zero() { return {_mm512_setzero_si512()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i load(const std::int8_t* weights) {
    return _mm512_loadu_si512(weights);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i load(const std::int16_t* weights) {
    return _mm512_loadu_si512(weights);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i pair(const std::int16_t* x) {
    std::int32_t both = 0;
    std::memcpy(&both, x, sizeof(both));
    return _mm512_set1_epi32(both);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i four(const std::uint8_t* x) {
    std::int32_t bytes = 0;
    std::memcpy(&bytes, x, sizeof(bytes));
    return _mm512_set1_epi32(bytes);
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const { _mm512_storeu_si512(to, v); }
};

LIC_FAST_TARGET LIC_FAST_INLINE Sums shifted(Sums sums) {
  return {_mm512_maskz_slli_epi32(kAll, sums.v, kHalfBits)};
}

/// kLanes int32, or pairs of int16.
struct Ints {
  __m512i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Ints zero() { return {_mm512_setzero_si512()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints all(std::int32_t x) { return {_mm512_set1_epi32(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints load(const std::int32_t* x) {
    return {_mm512_loadu_si512(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints pair(const std::int16_t* x) {
    std::int32_t both = 0;
    std::memcpy(&both, x, sizeof(both));
    return {_mm512_set1_epi32(both)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int32_t* to) const { _mm512_storeu_si512(to, v); }
  template <class F>
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints of(F x) {
    return {_mm512_maskz_cvtps_epi32(kAll, x.v)};
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Ints operator+(Ints a, Ints b) {
  return {_mm512_add_epi32(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints operator-(Ints a, Ints b) {
  return {_mm512_sub_epi32(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints operator*(Ints a, Ints b) {
  return {_mm512_mullo_epi32(a.v, b.v)};
}
template <unsigned kPower>
LIC_FAST_TARGET LIC_FAST_INLINE Ints quotient(Ints x) {
  return {_mm512_maskz_srai_epi32(kAll, x.v, kPower)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Ints shifted(Ints x) {
  return {_mm512_maskz_slli_epi32(kAll, x.v, kHalfBits)};
}
LIC_FAST_TARGET LIC_FAST_INLINE std::int32_t sum(Ints x) {
  const __m256i eight = _mm256_add_epi32(_mm512_maskz_extracti32x8_epi32(0xFF, x.v, 0),
                                         _mm512_maskz_extracti32x8_epi32(0xFF, x.v, 1));
  const __m128i four =
      _mm_add_epi32(_mm256_castsi256_si128(eight), _mm256_extracti128_si256(eight, 1));
  const __m128i two = _mm_add_epi32(four, _mm_unpackhi_epi64(four, four));
  return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, 1)));
}

LIC_FAST_TARGET LIC_FAST_INLINE void prefetch(const std::int16_t* x) {
  _mm_prefetch(reinterpret_cast<const char*>(x), _MM_HINT_T1);
}

/// kWords uint8.
struct Bytes {
  __m256i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Bytes zero() { return {_mm256_setzero_si256()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Bytes load(const std::uint8_t* x) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(x))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE bool in_range() const { return _mm256_movemask_epi8(v) == 0; }
};

LIC_FAST_TARGET LIC_FAST_INLINE Bytes operator|(Bytes a, Bytes b) {
  return {_mm256_or_si256(a.v, b.v)};
}

/// kWords int16.
struct Words {
  __m512i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Words of(Bytes x) {
    return {_mm512_maskz_cvtepu8_epi16(static_cast<__mmask32>(-1), x.v)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Words load(const std::int8_t* x) {
    return {_mm512_maskz_cvtepi8_epi16(static_cast<__mmask32>(-1),
                                       _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x)))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Words all(std::int16_t x) {
    return {_mm512_set1_epi16(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::int16_t* to) const { _mm512_storeu_si512(to, v); }
};

LIC_FAST_TARGET LIC_FAST_INLINE Words operator+(Words a, Words b) {
  return {_mm512_add_epi16(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Words operator-(Words a, Words b) {
  return {_mm512_sub_epi16(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Words shifted(Words x) {
  return {_mm512_maskz_slli_epi16(static_cast<__mmask32>(-1), x.v, kHalfBits)};
}

struct Floats {
  __m512 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Floats of(Ints x) {
    return {_mm512_maskz_cvtepi32_ps(kAll, x.v)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store_words(std::int16_t* to) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                        _mm512_maskz_cvtepi32_epi16(kAll, _mm512_maskz_cvtps_epi32(kAll, v)));
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static Floats all(float x) { return {_mm512_set1_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Floats load(const float* x) {
    return {_mm512_loadu_ps(x)};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static Floats sums(const std::int32_t* x,
                                                     const std::int32_t* bias) {
    return {_mm512_maskz_cvtepi32_ps(
        kAll, _mm512_add_epi32(_mm512_loadu_si512(x), _mm512_loadu_si512(bias)))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* to) const { _mm512_storeu_ps(to, v); }
  LIC_FAST_TARGET LIC_FAST_INLINE void store_halves(std::uint8_t* high, std::uint8_t* low) const {
    const __m512i x = _mm512_maskz_cvtps_epi32(kAll, v);
    if (high != nullptr) store(high, _mm512_maskz_srli_epi32(kAll, x, kHalfBits));
    if (low != nullptr) store(low, _mm512_and_si512(x, _mm512_set1_epi32(kHalfTop)));
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static void store(std::uint8_t* to, __m512i x) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_maskz_cvtepi32_epi8(kAll, x));
  }
};

LIC_FAST_TARGET LIC_FAST_INLINE Floats operator+(Floats a, Floats b) {
  return {_mm512_add_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator-(Floats a, Floats b) {
  return {_mm512_sub_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator*(Floats a, Floats b) {
  return {_mm512_mul_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats operator/(Floats a, Floats b) {
  return {_mm512_div_ps(a.v, b.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats at_least(Floats x, Floats low) {
  return {_mm512_maskz_max_ps(kAll, x.v, low.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE float largest(Floats x) {
  const __m256 eight = _mm256_max_ps(_mm512_maskz_extractf32x8_ps(0xFF, x.v, 0),
                                     _mm512_maskz_extractf32x8_ps(0xFF, x.v, 1));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats at_most(Floats x, Floats high) {
  return {_mm512_maskz_min_ps(kAll, x.v, high.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats rounded(Floats x) {
  return {_mm512_maskz_roundscale_ps(kAll, x.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats positive_or(Floats x, Floats other) {
  return {
      _mm512_mask_mov_ps(other.v, _mm512_cmp_ps_mask(x.v, _mm512_setzero_ps(), _CMP_GT_OQ), x.v)};
}
LIC_FAST_TARGET LIC_FAST_INLINE __m512i sign_of(Floats x) {
  return _mm512_and_si512(_mm512_castps_si512(x.v), _mm512_set1_epi32(INT32_MIN));
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats magnitude(Floats x) {
  return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(x.v), sign_of(x)))};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats with_sign_of(Floats x, Floats sign) {
  return {_mm512_castsi512_ps(_mm512_or_si512(_mm512_castps_si512(magnitude(x).v), sign_of(sign)))};
}
LIC_FAST_TARGET LIC_FAST_INLINE Floats power_of_two(Floats n) {
  const __m512i exponent =
      _mm512_add_epi32(_mm512_maskz_cvtps_epi32(kAll, n.v), _mm512_set1_epi32(127));
  return {_mm512_castsi512_ps(_mm512_maskz_slli_epi32(kAll, exponent, 23))};
}
