// AVX-512: a group is one or two vectors of 16 lanes.

#include "cpu/isa.hpp"

#ifdef LIC_FAST_X86

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include "rans/kernels.hpp"

namespace lic_fast::rans {
namespace {

constexpr unsigned kWidth = 16;

/// 64 numbers in registers, found by a permutation instead of loads.
struct Registers {
  __m512i part[4];
};

LIC_FAST_AVX512 LIC_FAST_INLINE Registers load_rows(const void* numbers) {
  const auto* data = static_cast<const char*>(numbers);
  return {{_mm512_loadu_si512(data), _mm512_loadu_si512(data + 64), _mm512_loadu_si512(data + 128),
           _mm512_loadu_si512(data + 192)}};
}

/// Requires index < 64.
LIC_FAST_AVX512 LIC_FAST_INLINE __m512i pick(const Registers& rows, __m512i index) {
  const __m512i low = _mm512_permutex2var_epi32(rows.part[0], index, rows.part[1]);
  const __m512i high = _mm512_permutex2var_epi32(rows.part[2], index, rows.part[3]);
  return _mm512_mask_mov_epi32(low, _mm512_test_epi32_mask(index, _mm512_set1_epi32(32)), high);
}

/// Numbers of rows, of which there may be more than 64.
template <bool kFewRows>
struct Rows;

template <>
struct Rows<true> {
  LIC_FAST_AVX512 explicit Rows(const void* numbers) : registers(load_rows(numbers)) {}
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i operator()(__m512i index) const {
    return pick(registers, index);
  }
  Registers registers;
};

template <>
struct Rows<false> {
  explicit Rows(const void* numbers) : data(numbers) {}
  LIC_FAST_AVX512 LIC_FAST_INLINE __m512i operator()(__m512i index) const {
    return _mm512_i32gather_epi32(index, data, 4);
  }
  const void* data;
};

LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::uint8_t* indexes) {
  return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indexes)));
}
LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int16_t* values) {
  return _mm512_cvtepi16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(values)));
}
LIC_FAST_AVX512 LIC_FAST_INLINE __m512i load(const std::int32_t* values) {
  return _mm512_loadu_si512(values);
}

LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int16_t* to, __m512i values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(values));
}
LIC_FAST_AVX512 LIC_FAST_INLINE void store(std::int32_t* to, __m512i values) {
  _mm512_storeu_si512(to, values);
}

/// The state that is left when an interval that owns the slot is taken; `rest` is the state's
/// upper half.
LIC_FAST_AVX512 LIC_FAST_INLINE __m512i without(__m512i slot, __m512i start, __m512i last,
                                                __m512i rest) {
  const __m512i freq = _mm512_add_epi32(_mm512_sub_epi32(last, start), _mm512_set1_epi32(1));
  return _mm512_add_epi32(_mm512_mullo_epi32(freq, rest), _mm512_sub_epi32(slot, start));
}

struct Owner {
  __m512i start, last, s;
};

/// The slots' intervals by the lists of crowded buckets, for the lanes of `crowded`.
LIC_FAST_AVX512 inline Owner find_crowded(const TablesView& tables, __mmask16 crowded,
                                          __m512i index, __m512i slot, __m512i shift,
                                          __m512i list) {
  const __m512i one = _mm512_set1_epi32(1), low = _mm512_set1_epi32(0xffff);
  const __m512i zero = _mm512_setzero_si512();
  const __m512i offset_in_bucket =
      _mm512_and_si512(slot, _mm512_sub_epi32(_mm512_sllv_epi32(one, shift), one));
  const __m512i s = _mm512_and_si512(
      _mm512_mask_i32gather_epi32(zero, crowded, _mm512_add_epi32(list, offset_in_bucket),
                                  tables.crowded, 2),
      low);
  const __m512i first = _mm512_mask_i32gather_epi32(zero, crowded, index, tables.first, 4);
  const __m512i interval =
      _mm512_mask_i32gather_epi32(zero, crowded, _mm512_add_epi32(first, s), tables.intervals, 4);
  return {_mm512_and_si512(interval, low), _mm512_srli_epi32(interval, 16), s};
}

template <unsigned kVectors, bool kFewRows, class Index, class Symbol>
LIC_FAST_AVX512 std::size_t decode_groups(const TablesView& tables, std::uint32_t* states,
                                          const std::uint16_t*& next, const std::uint16_t* end,
                                          const Index* indexes, Symbol* symbols,
                                          std::size_t groups) {
  const Rows<kFewRows> bucket_words(tables.bucket_word), offsets(tables.offset);
  const __m512i low = _mm512_set1_epi32(0xffff), one = _mm512_set1_epi32(1);
  const __m512i lower_bound = _mm512_set1_epi32(0x10000);
  const __m512i bucket_mask = _mm512_set1_epi32(ans::CdfTables::kBucketMask);
  const __m512i crowded_mark = _mm512_set1_epi32(ans::CdfTables::kCrowded);
  const __m512i rows = _mm512_set1_epi32(static_cast<int>(tables.rows));
  const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, one);

  __m512i state[kVectors];
  for (unsigned v = 0; v < kVectors; ++v) state[v] = _mm512_loadu_si512(states + v * kWidth);
  const std::uint16_t* words = next;
  std::size_t group = 0;
  for (; group < groups && words <= end; ++group) {
    __m512i index[kVectors];
    __mmask16 stop = 0;
    for (unsigned v = 0; v < kVectors; ++v) {
      index[v] = load(indexes + (group * kVectors + v) * kWidth);
      stop |= _mm512_cmpge_epu32_mask(index[v], rows);
    }
    if (stop != 0) break;

    __m512i taken[kVectors], symbol[kVectors];
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m512i slot = _mm512_and_si512(state[v], low);
      const __m512i word = bucket_words(index[v]);
      const __m512i shift = _mm512_srli_epi32(word, ans::CdfTables::kShiftPosition);
      const __m512i bucket =
          _mm512_add_epi32(_mm512_and_si512(word, bucket_mask), _mm512_srlv_epi32(slot, shift));
      const __m512i a = _mm512_i32gather_epi64(_mm512_castsi512_si256(bucket), tables.buckets, 8);
      const __m512i b =
          _mm512_i32gather_epi64(_mm512_extracti64x4_epi64(bucket, 1), tables.buckets, 8);
      const __m512i first = _mm512_permutex2var_epi32(a, even, b);
      const __m512i second = _mm512_permutex2var_epi32(a, odd, b);

      // Both intervals' results, as if the slot were in each: the choice is then one blend at the
      // end of what the next group waits for.
      const __m512i rest = _mm512_srli_epi32(state[v], 16);
      const __m512i first_last = _mm512_srli_epi32(first, 16);
      const __m512i second_last = _mm512_srli_epi32(second, 16);
      const __mmask16 in_second = _mm512_cmpgt_epu32_mask(slot, first_last);
      const __m512i next_start = _mm512_add_epi32(first_last, one);
      const __m512i in_first = without(slot, _mm512_and_si512(first, low), first_last, rest);
      taken[v] =
          _mm512_mask_mov_epi32(in_first, in_second, without(slot, next_start, second_last, rest));
      __m512i last = _mm512_mask_mov_epi32(first_last, in_second, second_last);
      __m512i s = _mm512_and_si512(second, low);
      s = _mm512_mask_add_epi32(s, in_second, s, one);
      const __mmask16 crowded = _mm512_cmpeq_epi32_mask(first, crowded_mark);
      if (crowded != 0) {
        const Owner owner = find_crowded(tables, crowded, index[v], slot, shift, second);
        taken[v] =
            _mm512_mask_mov_epi32(taken[v], crowded, without(slot, owner.start, owner.last, rest));
        last = _mm512_mask_mov_epi32(last, crowded, owner.last);
        s = _mm512_mask_mov_epi32(s, crowded, owner.s);
      }
      stop |= _mm512_cmpeq_epi32_mask(last, low);  // an escape
      symbol[v] = _mm512_add_epi32(s, offsets(index[v]));
    }
    if (stop != 0) break;

    for (unsigned v = 0; v < kVectors; ++v) {
      const __m512i x = taken[v];
      const __mmask16 low_states = _mm512_cmplt_epu32_mask(x, lower_bound);
      const __m512i read = _mm512_maskz_expand_epi32(
          low_states,
          _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(words))));
      words += _mm_popcnt_u32(low_states);
      state[v] = _mm512_mask_or_epi32(x, low_states, _mm512_slli_epi32(x, 16), read);
      store(symbols + (group * kVectors + v) * kWidth, symbol[v]);
    }
  }
  for (unsigned v = 0; v < kVectors; ++v) _mm512_storeu_si512(states + v * kWidth, state[v]);
  next = words;
  return group;
}

template <unsigned kVectors, class Index, class Symbol>
std::size_t decode(const TablesView& tables, std::uint32_t* states, const std::uint16_t*& next,
                   const std::uint16_t* end, const Index* indexes, Symbol* symbols,
                   std::size_t groups) {
  const auto loop = tables.rows <= 64 ? &decode_groups<kVectors, true, Index, Symbol>
                                      : &decode_groups<kVectors, false, Index, Symbol>;
  return loop(tables, states, next, end, indexes, symbols, groups);
}

template <bool kFewRows, class Index, class Symbol>
LIC_FAST_AVX512 std::size_t find_intervals(const TablesView& tables, const Symbol* symbols,
                                           const Index* indexes, std::uint32_t* intervals,
                                           std::size_t count) {
  const Rows<kFewRows> firsts(tables.first), escapes(tables.escape), offsets(tables.offset);
  const __m512i rows = _mm512_set1_epi32(static_cast<int>(tables.rows));
  std::size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const __m512i index = load(indexes + i);
    if (_mm512_cmpge_epu32_mask(index, rows) != 0) break;
    const __m512i offset = offsets(index), escape = escapes(index), symbol = load(symbols + i);
    // Signed, since symbol - offset may not fit 32 bits; as unsigned it is right if it does.
    const __mmask16 inside = _mm512_cmpge_epi32_mask(symbol, offset);
    const __m512i value = _mm512_mask_sub_epi32(escape, inside, symbol, offset);
    const __m512i s = _mm512_min_epu32(value, escape);
    const __m512i interval =
        _mm512_i32gather_epi32(_mm512_add_epi32(firsts(index), s), tables.intervals, 4);
    _mm512_storeu_si512(intervals + i, interval);
  }
  return i;
}

template <class Index, class Symbol>
std::size_t find(const TablesView& tables, const Symbol* symbols, const Index* indexes,
                 std::uint32_t* intervals, std::size_t count) {
  const auto loop = tables.rows <= 64 ? &find_intervals<true, Index, Symbol>
                                      : &find_intervals<false, Index, Symbol>;
  return loop(tables, symbols, indexes, intervals, count);
}

/// The lanes are held in descending order, that in which they are encoded.
template <unsigned kVectors>
LIC_FAST_AVX512 std::size_t encode_groups(std::uint32_t* states, const std::uint32_t* intervals,
                                          std::size_t groups, std::uint16_t*& words) {
  const __m512i descending =
      _mm512_setr_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
  const __m512i low = _mm512_set1_epi32(0xffff), one = _mm512_set1_epi32(1);
  const __m512i zero = _mm512_setzero_si512();
  __m512i state[kVectors];
  for (unsigned v = 0; v < kVectors; ++v) {
    state[v] = _mm512_permutexvar_epi32(descending,
                                        _mm512_loadu_si512(states + (kVectors - 1 - v) * kWidth));
  }
  std::uint16_t* to = words;
  std::size_t done = 0;
  for (; done < groups; ++done) {
    const std::uint32_t* group = intervals + (groups - 1 - done) * (kVectors * kWidth);
    __m512i start[kVectors], last[kVectors];
    __mmask16 stop = 0;
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m512i interval = _mm512_permutexvar_epi32(
          descending, _mm512_loadu_si512(group + (kVectors - 1 - v) * kWidth));
      start[v] = _mm512_and_si512(interval, low);
      last[v] = _mm512_srli_epi32(interval, 16);
      stop |= _mm512_cmpeq_epi32_mask(last[v], low);
    }
    if (stop != 0) break;
    for (unsigned v = 0; v < kVectors; ++v) {
      const __m512i freq = _mm512_add_epi32(_mm512_sub_epi32(last[v], start[v]), one);
      __m512i x = state[v];
      const __m512i top = _mm512_srli_epi32(x, 16);
      const __mmask16 full = _mm512_cmpge_epu32_mask(top, freq);
      const __m512i moved = _mm512_maskz_compress_epi32(full, x);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(moved));
      to += _mm_popcnt_u32(full);
      x = _mm512_mask_mov_epi32(x, full, top);
      // x / freq < 2^16, of which a quotient of floats is at most one off.
      __m512i quotient =
          _mm512_cvttps_epi32(_mm512_div_ps(_mm512_cvtepu32_ps(x), _mm512_cvtepi32_ps(freq)));
      __m512i rest = _mm512_sub_epi32(x, _mm512_mullo_epi32(quotient, freq));
      const __mmask16 above = _mm512_cmplt_epi32_mask(rest, zero);
      quotient = _mm512_mask_sub_epi32(quotient, above, quotient, one);
      rest = _mm512_mask_add_epi32(rest, above, rest, freq);
      const __mmask16 below = _mm512_cmpge_epi32_mask(rest, freq);
      quotient = _mm512_mask_add_epi32(quotient, below, quotient, one);
      rest = _mm512_mask_sub_epi32(rest, below, rest, freq);
      state[v] =
          _mm512_add_epi32(_mm512_slli_epi32(quotient, 16), _mm512_add_epi32(rest, start[v]));
    }
  }
  for (unsigned v = 0; v < kVectors; ++v) {
    _mm512_storeu_si512(states + (kVectors - 1 - v) * kWidth,
                        _mm512_permutexvar_epi32(descending, state[v]));
  }
  words = to;
  return done;
}

template <unsigned kVectors>
constexpr LaneKernels lane_kernels() {
  return {&decode<kVectors, std::uint8_t, std::int16_t>,
          &decode<kVectors, std::uint8_t, std::int32_t>,
          &decode<kVectors, std::int16_t, std::int16_t>,
          &decode<kVectors, std::int16_t, std::int32_t>, &encode_groups<kVectors>};
}

}  // namespace

const Kernels kAvx512Kernels{lane_kernels<1>(),
                             lane_kernels<2>(),
                             &find<std::uint8_t, std::int16_t>,
                             &find<std::uint8_t, std::int32_t>,
                             &find<std::int16_t, std::int16_t>,
                             &find<std::int16_t, std::int32_t>};

}  // namespace lic_fast::rans

#endif
