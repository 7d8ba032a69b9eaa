#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "latents/kernels.hpp"

namespace lic_fast::latents {
namespace {

constexpr std::size_t kWidth = 16;

/// All elements of a vector. Masks that take all of them would do, but stores with a mask take
/// twice as long where memory is what bounds.
struct Whole {
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512 load(const float* from) const {
    return _mm512_loadu_ps(from);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int32_t* from) const {
    return _mm512_loadu_si512(from);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int16_t* from) const {
    return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(float* to, __m512 values) const {
    _mm512_storeu_ps(to, values);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int32_t* to, __m512i values) const {
    _mm512_storeu_si512(to, values);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int16_t* to, __m512i values) const {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtsepi32_epi16(values));
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::uint8_t* to, __m512i values) const {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtepi32_epi8(values));
  }
};

/// The first elements of a vector; the others are zeros.
struct Part {
  explicit Part(std::size_t count) : lanes(static_cast<__mmask16>((1u << count) - 1)) {}

  LIC_FAST_AVX512 LIC_FAST_INLINE __m512 load(const float* from) const {
    return _mm512_maskz_loadu_ps(lanes, from);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int32_t* from) const {
    return _mm512_maskz_loadu_epi32(lanes, from);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int16_t* from) const {
    return _mm512_cvtepi16_epi32(_mm256_maskz_loadu_epi16(lanes, from));
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(float* to, __m512 values) const {
    _mm512_mask_storeu_ps(to, lanes, values);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int32_t* to, __m512i values) const {
    _mm512_mask_storeu_epi32(to, lanes, values);
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int16_t* to, __m512i values) const {
    _mm256_mask_storeu_epi16(to, lanes, _mm512_cvtsepi32_epi16(values));
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::uint8_t* to, __m512i values) const {
    _mm_mask_storeu_epi8(to, lanes, _mm512_cvtepi32_epi8(values));
  }

  __mmask16 lanes;
};

/// Returns the bits of |round(y - mean)|.
template <class Lanes, class Symbol>
LIC_FAST_AVX512 LIC_FAST_INLINE __m512i round_step(Lanes lanes, const float* y, const float* mean,
                                                   Symbol* symbols, float* y_hat) {
  const __m512 center = lanes.load(mean);
  const __m512 rounded = _mm512_roundscale_ps(_mm512_sub_ps(lanes.load(y), center),
                                              _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  lanes.store(symbols, _mm512_cvtps_epi32(rounded));
  lanes.store(y_hat, _mm512_add_ps(rounded, center));
  return _mm512_and_si512(_mm512_castps_si512(rounded), _mm512_set1_epi32(scalar::kMagnitude));
}

template <class Symbol>
LIC_FAST_AVX512 std::uint32_t round_row(const float* y, const float* mean, std::size_t count,
                                        Symbol* symbols, float* y_hat) {
  __m512i peaks = _mm512_setzero_si512();
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    peaks = _mm512_max_epu32(peaks, round_step(Whole{}, y + i, mean + i, symbols + i, y_hat + i));
  }
  if (i < count) {
    const Part part(count - i);
    peaks = _mm512_max_epu32(peaks, round_step(part, y + i, mean + i, symbols + i, y_hat + i));
  }
  return _mm512_reduce_max_epu32(peaks);
}

template <class Lanes, class Symbol>
LIC_FAST_AVX512 LIC_FAST_INLINE void add_step(Lanes lanes, const Symbol* symbols, const float* mean,
                                              float* y_hat) {
  const __m512 values = _mm512_cvtepi32_ps(lanes.load(symbols));
  lanes.store(y_hat, _mm512_add_ps(values, lanes.load(mean)));
}

template <class Symbol>
LIC_FAST_AVX512 void add_row(const Symbol* symbols, const float* mean, std::size_t count,
                             float* y_hat) {
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) add_step(Whole{}, symbols + i, mean + i, y_hat + i);
  if (i < count) add_step(Part(count - i), symbols + i, mean + i, y_hat + i);
}

/// 128 entries, held in registers and found by permutations.
struct InRegisters {
  LIC_FAST_AVX512 explicit InRegisters(const std::vector<std::uint32_t>& entries) {
    for (std::size_t i = 0; i < kParts; ++i) {
      parts[i] = _mm512_loadu_si512(entries.data() + i * kWidth);
    }
  }
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i operator()(__m512i bucket) const {
    const __mmask16 bit5 = _mm512_test_epi32_mask(bucket, _mm512_set1_epi32(32));
    const __mmask16 bit6 = _mm512_test_epi32_mask(bucket, _mm512_set1_epi32(64));
    const __m512i low =
        _mm512_mask_mov_epi32(_mm512_permutex2var_epi32(parts[0], bucket, parts[1]), bit5,
                              _mm512_permutex2var_epi32(parts[2], bucket, parts[3]));
    const __m512i high =
        _mm512_mask_mov_epi32(_mm512_permutex2var_epi32(parts[4], bucket, parts[5]), bit5,
                              _mm512_permutex2var_epi32(parts[6], bucket, parts[7]));
    return _mm512_mask_mov_epi32(low, bit6, high);
  }

  static constexpr std::size_t kParts = Buckets::kMinEntries / kWidth;
  static_assert(kParts == 8, "a bucket's number has 7 bits");
  __m512i parts[kParts];
};

struct InMemory {
  explicit InMemory(const std::vector<std::uint32_t>& entries) : data(entries.data()) {}
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i operator()(__m512i bucket) const {
    return _mm512_i32gather_epi32(bucket, data, 4);
  }

  const std::uint32_t* data;
};

/// Buckets, in registers.
template <class Entries>
struct Finder {
  LIC_FAST_AVX512 explicit Finder(const Buckets& buckets)
      : entries(buckets.entries),
        low(_mm512_set1_ps(buckets.low)),
        high(_mm512_set1_ps(buckets.high)),
        origin(_mm512_set1_epi32(static_cast<int>(buckets.origin))),
        shift(_mm_cvtsi32_si128(static_cast<int>(buckets.shift))) {}

  template <class Lanes>
  LIC_FAST_AVX512 LIC_FAST_INLINE void step(Lanes lanes, const float* scales,
                                            std::uint8_t* indexes) const {
    // Where one operand is a NaN, the second is the result.
    const __m512 scale = _mm512_max_ps(_mm512_min_ps(lanes.load(scales), high), low);
    const __m512i place = _mm512_sub_epi32(_mm512_castps_si512(scale), origin);
    const __m512i entry = entries(_mm512_srl_epi32(place, shift));
    lanes.store(indexes, _mm512_srl_epi32(_mm512_add_epi32(place, entry), shift));
  }

  LIC_FAST_AVX512 void find(const float* scales, std::size_t count, std::uint8_t* indexes) const {
    std::size_t i = 0;
    for (; i + kWidth <= count; i += kWidth) step(Whole{}, scales + i, indexes + i);
    if (i < count) step(Part(count - i), scales + i, indexes + i);
  }

  Entries entries;
  __m512 low, high;
  __m512i origin;
  __m128i shift;
};

LIC_FAST_AVX512 void find_indexes(const Buckets& buckets, const float* scales, std::size_t count,
                                  std::uint8_t* indexes) {
  if (buckets.entries.size() == Buckets::kMinEntries) {
    Finder<InRegisters>(buckets).find(scales, count, indexes);
  } else {
    Finder<InMemory>(buckets).find(scales, count, indexes);
  }
}

void transpose(const float* from, std::ptrdiff_t stride, std::size_t rows, std::size_t columns,
               float* to) {
  kAvx2Kernels.transpose(from, stride, rows, columns, to);
}

}  // namespace

const Kernels kAvx512Kernels{
    &round_row<std::int16_t>,
    &round_row<std::int32_t>,
    &add_row<std::int16_t>,
    &add_row<std::int32_t>,
    &find_indexes,
    &transpose,
};

}  // namespace lic_fast::latents

#endif
