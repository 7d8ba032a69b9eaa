// Eight floats in a register of AVX2, for the files of AVX2 and those of AVX-512; see
// vectors_avx2.inl.

LIC_FAST_TARGET LIC_FAST_INLINE __m256 widened(__m128i x) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16));
}
/// bfloat16, rounded to the nearest, ties to even.
LIC_FAST_TARGET LIC_FAST_INLINE __m128i narrowed(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF)));
  const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
  const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, quiet, nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

struct Eight {
  __m256 v;

  LIC_FAST_TARGET LIC_FAST_INLINE static Eight load(const float* x) { return {_mm256_loadu_ps(x)}; }
  LIC_FAST_TARGET LIC_FAST_INLINE static Eight load(const std::uint16_t* x) {
    return {widened(_mm_loadu_si128(reinterpret_cast<const __m128i*>(x)))};
  }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(float* x) const { _mm256_storeu_ps(x, v); }
  LIC_FAST_TARGET LIC_FAST_INLINE void store(std::uint16_t* x) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(x), narrowed(v));
  }
};

/// Rows to columns.
LIC_FAST_TARGET LIC_FAST_INLINE void transpose(Eight* rows) {
  __m256 pairs[8], fours[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(rows[i].v, rows[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(rows[i].v, rows[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      fours[i + 2 * j] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0x44);
      fours[i + 2 * j + 1] = _mm256_shuffle_ps(pairs[i + j], pairs[i + j + 2], 0xEE);
    }
  }
  for (int i = 0; i < 4; ++i) {
    rows[i].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
    rows[i + 4].v = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
  }
}
