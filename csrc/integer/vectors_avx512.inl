// Vectors of AVX-512, for the files that include this with LIC_FAST_TARGET.
//
// The masked forms with every lane: GCC 12 warns of an uninitialised operand inside the others.

// Of the 32 registers 24 hold sums, and two the weights.
constexpr std::size_t kPixels = 12, kBlocks = 2, kLanes = 16;
constexpr __mmask16 kAll = 0xFFFF;

struct Sums {
  using Factors = __m512i;
  __m512i v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Sums zero() { return {_mm512_setzero_si512()}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512i load(const std::int8_t* weights) {
    return _mm512_loadu_si512(weights);
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

struct Floats {
  __m512 v;

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
