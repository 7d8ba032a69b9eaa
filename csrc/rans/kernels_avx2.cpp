// AVX2: a group is two or four vectors of 8 lanes.

#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

#include <immintrin.h>

#include <array>

#include "rans/kernels.hpp"

namespace lic_fast::rans {
namespace {

constexpr unsigned kWidth = 8;

using Permutations = std::array<std::array<std::uint8_t, kWidth>, 1u << kWidth>;

/// Of a mask: for each lane in it, how many lanes before it are in it too.
constexpr Permutations expansions() {
  Permutations all{};
  for (unsigned mask = 0; mask < all.size(); ++mask) {
    std::uint8_t before = 0;
    for (unsigned lane = 0; lane < kWidth; ++lane) {
      all[mask][lane] = before;
      before = static_cast<std::uint8_t>(before + ((mask >> lane) & 1));
    }
  }
  return all;
}

/// Of a mask: its lanes, the highest first.
constexpr Permutations descending_compressions() {
  Permutations all{};
  for (unsigned mask = 0; mask < all.size(); ++mask) {
    unsigned count = 0;
    for (unsigned lane = kWidth; lane-- > 0;) {
      if ((mask >> lane) & 1) all[mask][count++] = static_cast<std::uint8_t>(lane);
    }
  }
  return all;
}

alignas(64) constexpr Permutations kExpansions = expansions();
alignas(64) constexpr Permutations kCompressions = descending_compressions();

LIC_FAST_AVX2 LIC_FAST_INLINE __m256i permutation(const Permutations& all, unsigned mask) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(&all[mask])));
}

LIC_FAST_AVX2 LIC_FAST_INLINE unsigned mask_of(__m256i condition) {
  return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(condition)));
}

LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load_vector(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}
LIC_FAST_AVX2 LIC_FAST_INLINE void store_vector(void* to, __m256i values) {
  _mm256_storeu_si256(static_cast<__m256i*>(to), values);
}

LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load(const std::uint8_t* indexes) {
  return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(indexes)));
}
LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load(const std::int16_t* values) {
  return _mm256_cvtepi16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(values)));
}
LIC_FAST_AVX2 LIC_FAST_INLINE __m256i load(const std::int32_t* values) {
  return load_vector(values);
}

LIC_FAST_AVX2 LIC_FAST_INLINE __m128i narrow(__m256i values) {
  return _mm_packs_epi32(_mm256_castsi256_si128(values), _mm256_extracti128_si256(values, 1));
}
LIC_FAST_AVX2 LIC_FAST_INLINE void store(std::int16_t* to, __m256i values) {
  _mm_storeu_si128(reinterpret_cast<__m128i*>(to), narrow(values));
}
LIC_FAST_AVX2 LIC_FAST_INLINE void store(std::int32_t* to, __m256i values) {
  store_vector(to, values);
}

/// All ones for a lane whose index names no table.
LIC_FAST_AVX2 LIC_FAST_INLINE __m256i no_table(__m256i index, __m256i last_row) {
  return _mm256_or_si256(_mm256_cmpgt_epi32(index, last_row),
                         _mm256_cmpgt_epi32(_mm256_setzero_si256(), index));
}

LIC_FAST_AVX2 LIC_FAST_INLINE __m256i gather(const void* from, __m256i at) {
  return _mm256_i32gather_epi32(static_cast<const int*>(from), at, 4);
}

/// The low and the high halves of eight 64-bit numbers.
struct Halves {
  __m256i low, high;
};

LIC_FAST_AVX2 LIC_FAST_INLINE Halves gather_pairs(const std::uint64_t* from, __m256i at) {
  const auto* base = reinterpret_cast<const long long*>(from);
  const __m256i a = _mm256_i32gather_epi64(base, _mm256_castsi256_si128(at), 8);
  const __m256i b = _mm256_i32gather_epi64(base, _mm256_extracti128_si256(at, 1), 8);
  const __m256 af = _mm256_castsi256_ps(a), bf = _mm256_castsi256_ps(b);
  // Shuffles stay in halves of a register: put those of a and b into order afterwards.
  const __m256i low = _mm256_castps_si256(_mm256_shuffle_ps(af, bf, 0x88));
  const __m256i high = _mm256_castps_si256(_mm256_shuffle_ps(af, bf, 0xdd));
  return {_mm256_permute4x64_epi64(low, 0xd8), _mm256_permute4x64_epi64(high, 0xd8)};
}

struct Owner {
  __m256i start, last, symbol;
};

/// The slots' intervals by the lists of crowded buckets, for the lanes of `crowded`.
LIC_FAST_AVX2 inline Owner find_crowded(const TablesView& tables, __m256i crowded, __m256i index,
                                        __m256i slot, __m256i shift, __m256i list,
                                        const Owner& others) {
  const __m256i one = _mm256_set1_epi32(1), low = _mm256_set1_epi32(0xffff);
  const __m256i zero = _mm256_setzero_si256();
  const __m256i offset_in_bucket =
      _mm256_and_si256(slot, _mm256_sub_epi32(_mm256_sllv_epi32(one, shift), one));
  const __m256i s = _mm256_and_si256(
      _mm256_mask_i32gather_epi32(zero, reinterpret_cast<const int*>(tables.crowded),
                                  _mm256_add_epi32(list, offset_in_bucket), crowded, 2),
      low);
  const __m256i first = _mm256_mask_i32gather_epi32(
      zero, reinterpret_cast<const int*>(tables.first), index, crowded, 4);
  const __m256i interval = _mm256_mask_i32gather_epi32(
      zero, reinterpret_cast<const int*>(tables.intervals), _mm256_add_epi32(first, s), crowded, 4);
  return {_mm256_blendv_epi8(others.start, _mm256_and_si256(interval, low), crowded),
          _mm256_blendv_epi8(others.last, _mm256_srli_epi32(interval, 16), crowded),
          _mm256_blendv_epi8(others.symbol, s, crowded)};
}

template <unsigned kVectors, class Index, class Symbol>
LIC_FAST_AVX2 std::size_t decode_groups(const TablesView& tables, std::uint32_t* states,
                                        const std::uint16_t*& next, const std::uint16_t* end,
                                        const Index* indexes, Symbol* symbols, std::size_t groups) {
  const __m256i low = _mm256_set1_epi32(0xffff), one = _mm256_set1_epi32(1);
  const __m256i zero = _mm256_setzero_si256();
  const __m256i bucket_mask = _mm256_set1_epi32(ans::CdfTables::kBucketMask);
  const __m256i crowded_mark = _mm256_set1_epi32(ans::CdfTables::kCrowded);
  const __m256i last_row = _mm256_set1_epi32(static_cast<int>(tables.rows - 1));

  const std::uint16_t* words = next;
  std::size_t group = 0;
  for (; group < groups && words <= end; ++group) {
    __m256i index[kVectors];
    __m256i stop = zero;
    for (unsigned v = 0; v < kVectors; ++v) {
      index[v] = load(indexes + (group * kVectors + v) * kWidth);
      stop = _mm256_or_si256(stop, no_table(index[v], last_row));
    }
    if (mask_of(stop) != 0) break;

    __m256i product[kVectors], symbol[kVectors];
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m256i state = load_vector(states + v * kWidth);
      const __m256i slot = _mm256_and_si256(state, low);
      const Halves row = gather_pairs(tables.row_words, index[v]);
      const __m256i shift = _mm256_srli_epi32(row.low, ans::CdfTables::kShiftPosition);
      const __m256i bucket =
          _mm256_add_epi32(_mm256_and_si256(row.low, bucket_mask), _mm256_srlv_epi32(slot, shift));
      const Halves found = gather_pairs(tables.buckets, bucket);

      const __m256i first_last = _mm256_srli_epi32(found.low, 16);
      const __m256i in_second = _mm256_cmpgt_epi32(slot, first_last);
      Owner owner{
          _mm256_blendv_epi8(_mm256_and_si256(found.low, low), _mm256_add_epi32(first_last, one),
                             in_second),
          _mm256_blendv_epi8(first_last, _mm256_srli_epi32(found.high, 16), in_second),
          // Subtracting all ones adds one.
          _mm256_sub_epi32(_mm256_and_si256(found.high, low), in_second),
      };
      const __m256i crowded = _mm256_cmpeq_epi32(found.low, crowded_mark);
      if (mask_of(crowded) != 0) {
        owner = find_crowded(tables, crowded, index[v], slot, shift, found.high, owner);
      }
      stop = _mm256_or_si256(stop, _mm256_cmpeq_epi32(owner.last, low));  // an escape
      const __m256i freq = _mm256_add_epi32(_mm256_sub_epi32(owner.last, owner.start), one);
      product[v] = _mm256_add_epi32(_mm256_mullo_epi32(freq, _mm256_srli_epi32(state, 16)),
                                    _mm256_sub_epi32(slot, owner.start));
      symbol[v] = _mm256_add_epi32(owner.symbol, row.high);
    }
    if (mask_of(stop) != 0) break;

    for (unsigned v = 0; v < kVectors; ++v) {
      const __m256i x = product[v];
      const __m256i low_states = _mm256_cmpeq_epi32(_mm256_srli_epi32(x, 16), zero);
      const unsigned mask = mask_of(low_states);
      const __m256i read = _mm256_permutevar8x32_epi32(
          _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(words))),
          permutation(kExpansions, mask));
      words += _mm_popcnt_u32(mask);
      store_vector(
          states + v * kWidth,
          _mm256_blendv_epi8(x, _mm256_or_si256(_mm256_slli_epi32(x, 16), read), low_states));
      store(symbols + (group * kVectors + v) * kWidth, symbol[v]);
    }
  }
  next = words;
  return group;
}

template <class Index, class Symbol>
LIC_FAST_AVX2 std::size_t find_intervals(const TablesView& tables, const Symbol* symbols,
                                         const Index* indexes, std::uint32_t* intervals,
                                         std::size_t count) {
  const __m256i last_row = _mm256_set1_epi32(static_cast<int>(tables.rows - 1));
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m256i index = load(indexes + i);
    if (mask_of(no_table(index, last_row)) != 0) break;
    const __m256i offset = gather(tables.offset, index), escape = gather(tables.escape, index);
    const __m256i symbol = load(symbols + i);
    // Signed, since symbol - offset may not fit 32 bits; as unsigned it is right if it does.
    const __m256i outside = _mm256_cmpgt_epi32(offset, symbol);
    const __m256i value = _mm256_blendv_epi8(_mm256_sub_epi32(symbol, offset), escape, outside);
    const __m256i s = _mm256_min_epu32(value, escape);
    store_vector(intervals + i,
                 gather(tables.intervals, _mm256_add_epi32(gather(tables.first, index), s)));
  }
  return i;
}

/// Vectors are taken in descending order, and the words of each by descending lane.
template <unsigned kVectors>
LIC_FAST_AVX2 std::size_t encode_groups(std::uint32_t* states, const std::uint32_t* intervals,
                                        std::size_t groups, std::uint16_t*& words) {
  const __m256i low = _mm256_set1_epi32(0xffff), one = _mm256_set1_epi32(1);
  const __m256i zero = _mm256_setzero_si256();
  const __m256 two_to_16 = _mm256_set1_ps(65536.0f);
  std::uint16_t* to = words;
  std::size_t done = 0;
  for (; done < groups; ++done) {
    const std::uint32_t* group = intervals + (groups - 1 - done) * (kVectors * kWidth);
    __m256i start[kVectors], last[kVectors];
    __m256i stop = zero;
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m256i interval = load_vector(group + v * kWidth);
      start[v] = _mm256_and_si256(interval, low);
      last[v] = _mm256_srli_epi32(interval, 16);
      stop = _mm256_or_si256(stop, _mm256_cmpeq_epi32(last[v], low));
    }
    if (mask_of(stop) != 0) break;
    for (unsigned v = kVectors; v-- > 0;) {
      const __m256i freq = _mm256_add_epi32(_mm256_sub_epi32(last[v], start[v]), one);
      __m256i x = load_vector(states + v * kWidth);
      const __m256i top = _mm256_srli_epi32(x, 16);
      const __m256i fits = _mm256_cmpgt_epi32(freq, top);
      const unsigned full = ~mask_of(fits) & 0xff;
      const __m256i moved =
          _mm256_permutevar8x32_epi32(_mm256_and_si256(x, low), permutation(kCompressions, full));
      _mm_storeu_si128(
          reinterpret_cast<__m128i*>(to),
          _mm_packus_epi32(_mm256_castsi256_si128(moved), _mm256_extracti128_si256(moved, 1)));
      to += _mm_popcnt_u32(full);
      x = _mm256_blendv_epi8(top, x, fits);
      // x / freq < 2^16, of which a quotient of floats is at most one off. AVX2 converts signed
      // numbers only, hence x in two halves.
      const __m256 x_float =
          _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_srli_epi32(x, 16)), two_to_16),
                        _mm256_cvtepi32_ps(_mm256_and_si256(x, low)));
      __m256i quotient = _mm256_cvttps_epi32(_mm256_div_ps(x_float, _mm256_cvtepi32_ps(freq)));
      __m256i rest = _mm256_sub_epi32(x, _mm256_mullo_epi32(quotient, freq));
      const __m256i above = _mm256_cmpgt_epi32(zero, rest);
      quotient = _mm256_add_epi32(quotient, above);
      rest = _mm256_add_epi32(rest, _mm256_and_si256(above, freq));
      const __m256i correct = _mm256_cmpgt_epi32(freq, rest);
      quotient = _mm256_add_epi32(quotient, _mm256_andnot_si256(correct, one));
      rest = _mm256_sub_epi32(rest, _mm256_andnot_si256(correct, freq));
      store_vector(states + v * kWidth, _mm256_add_epi32(_mm256_slli_epi32(quotient, 16),
                                                         _mm256_add_epi32(rest, start[v])));
    }
  }
  words = to;
  return done;
}

template <unsigned kVectors>
constexpr LaneKernels lane_kernels() {
  return {&decode_groups<kVectors, std::uint8_t, std::int16_t>,
          &decode_groups<kVectors, std::uint8_t, std::int32_t>,
          &decode_groups<kVectors, std::int16_t, std::int16_t>,
          &decode_groups<kVectors, std::int16_t, std::int32_t>, &encode_groups<kVectors>};
}

}  // namespace

const Kernels kAvx2Kernels{lane_kernels<2>(),
                           lane_kernels<4>(),
                           &find_intervals<std::uint8_t, std::int16_t>,
                           &find_intervals<std::uint8_t, std::int32_t>,
                           &find_intervals<std::int16_t, std::int16_t>,
                           &find_intervals<std::int16_t, std::int32_t>};

}  // namespace lic_fast::rans

#endif
