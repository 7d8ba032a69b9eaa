// Window attention of bfloat16 by tiles of AMX. Sums are float32; the exponentials, which
// forward.inl keeps in float32, are rounded to bfloat16 before they are multiplied with the values
// and summed themselves, by the same products, as a column of ones behind the values.

#include "cpu/isa.hpp"

#ifdef LIC_FAST_TILES

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include "attention/window_attention.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"
#include "cpu/tiles.hpp"

#define LIC_FAST_TARGET LIC_FAST_AMX

namespace lic_fast::attention {
namespace {

#include "cpu/vectors_avx512.inl"
// Where a window's tokens lie is found as there.
#include "attention/windows.inl"

/// Tokens that a tile has as rows, numbers of a head that are transposed together, and the largest
/// head.
constexpr std::size_t kRows = cpu::kTileRows, kGroup = 8, kMostOfHead = 64;
/// Numbers of bfloat16 in a tile's row, and the pairs of them.
constexpr std::size_t kNumbers = 32, kPairs = 16;

/// 2^x within 1e-4 of itself, a twentieth of a rounding to bfloat16, for x <= 0, and zero where
/// that would be subnormal, for which the processor takes a hundred times as long.
LIC_FAST_TARGET LIC_FAST_INLINE __m512 rough_power_of_two(__m512 x) {
  const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
  __m512 sum = _mm512_fmadd_ps(_mm512_set1_ps(0.0780245f), r, _mm512_set1_ps(0.2260671f));
  sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.6958335f));
  sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(0.9999252f));
  const __mmask16 normal = _mm512_cmp_ps_mask(x, _mm512_set1_ps(-126.0f), _CMP_NLT_UQ);
  return _mm512_maskz_scalef_ps(normal, sum, x);  // by the power of floor(x)
}

/// The largest number of each of 16 vectors.
LIC_FAST_TARGET LIC_FAST_INLINE __m512 largest_of_each(const __m512* rows) {
  // Halves of a pair are put into one vector, four times over; only the lanes are in the way.
  __m512 eight[8], four[4], two[2];
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < 8; ++i) {
    const __m512 a = rows[i], b = rows[i + 8];
    eight[i] = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xEE));
  }
  LIC_FAST_UNROLL(4)
  for (std::size_t i = 0; i < 4; ++i) {
    const __m512 a = eight[i], b = eight[i + 4];
    four[i] = _mm512_max_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xDD));
  }
  // A lane is of one row now: of i, i + 8, i + 4 and i + 12.
  LIC_FAST_UNROLL(2)
  for (std::size_t i = 0; i < 2; ++i) {
    const __m512 a = four[i], b = four[i + 2];
    two[i] = _mm512_max_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  }
  const __m512 all =
      _mm512_max_ps(_mm512_unpacklo_ps(two[0], two[1]), _mm512_unpackhi_ps(two[0], two[1]));
  // Lanes in the order of rows: 0 8 4 12, of which each has those of i = 0 to 3.
  return _mm512_shuffle_f32x4(all, all, 0xD8);
}

/// Rows of windows of kTokens. A unit of work, kRows queries of a head, goes through five stages,
/// each while others are in the stages before and behind it: what one writes is not yet where
/// tiles are loaded from when it is done.
template <std::size_t kTokens>
class TileForward {
 public:
  static constexpr std::size_t kBlocks = kTokens / kRows;
  static constexpr std::size_t kKeys = std::min(kTokens, kNumbers), kParts = kTokens / kKeys;

  LIC_FAST_TARGET static void run(const Problem& problem, const WindowRow& window_row) {
    TileForward(problem).compute(window_row);
  }

 private:
  static constexpr std::size_t kStages = 5;
  /// Heads whose queries, keys and values are there, windows whose places are, and units.
  static constexpr std::size_t kHeads = kBlocks == 1 ? 4 : 2, kWindows = 8, kUnits = 8;
  static constexpr std::size_t kKeyTile = kPairs * kRows, kValueTile = kPairs * kRows;

  struct Unit {
    std::size_t window, head, block, slot;  // slot: where the head's tiles are
    bool masked;
  };

  explicit TileForward(const Problem& problem)
      : problem_(problem),
        tables_(problem.tables),
        size_(tables_.head_size),
        channels_(tables_.heads * size_),
        chunks_((size_ + kNumbers - 1) / kNumbers),
        chunk_(((size_ + chunks_ - 1) / chunks_ + kGroup - 1) / kGroup * kGroup),
        columns_(size_ / kRows + 1),
        places_(kWindows, Windows::Places(tables_)) {
    queries_.assign(kHeads * kTokens * chunks_ * kNumbers, 0);
    keys_.assign(kHeads * chunks_ * kBlocks * kKeyTile, 0);
    values_.assign(kHeads * kParts * columns_ * kValueTile, 0);
    logits_.resize(2 * kRows * kTokens);
    weights_.resize(2 * kRows * kTokens);
    sums_.resize(2 * kRows * columns_ * kRows);
    for (std::size_t i = 0; i < 3 * channels_; ++i) {
      padding_.push_back(cpu::narrow<std::uint16_t>(tables_.padding[i]));
    }
  }

  LIC_FAST_TARGET void compute(const WindowRow& window_row) {
    cpu::TileShapes shapes;
    for (std::size_t sum = 0; sum < 4; ++sum) shapes.set(sum, kRows, cpu::kTileBytes);
    shapes.set(4, kRows, 2 * chunk_);            // queries
    shapes.set(5, chunk_ / 2, cpu::kTileBytes);  // keys
    shapes.set(6, kRows, 2 * kKeys);             // weights
    shapes.set(7, kKeys / 2, cpu::kTileBytes);   // values
    shapes.apply();
    const std::size_t windows = (problem_.width + tables_.window - 1) / tables_.window;
    const std::size_t count = windows * tables_.heads * kBlocks;
    Unit units[kUnits] = {}, next{0, 0, 0, 0, false};
    const auto unit = [&](std::size_t i) -> const Unit& { return units[i % kUnits]; };
    for (std::size_t n = 0; n < count + kStages - 1; ++n) {
      if (n < count) {
        if (next.block == 0) {
          if (next.head == 0) next.masked = locate(window_row, next.window);
          gather(next);
        }
        units[n % kUnits] = next;
        advance(next);
      }
      const auto at = [&](std::size_t stage) { return n >= stage && n - stage < count; };
      if (at(1)) multiply_keys(unit(n - 1), logits_.data() + (n - 1) % 2 * kRows * kTokens);
      if (at(2)) {
        weigh(unit(n - 2), logits_.data() + (n - 2) % 2 * kRows * kTokens,
              weights_.data() + (n - 2) % 2 * kRows * kTokens);
      }
      if (at(3)) {
        multiply_values(unit(n - 3), weights_.data() + (n - 3) % 2 * kRows * kTokens,
                        sums_.data() + (n - 3) % 2 * kRows * columns_ * kRows);
      }
      if (at(4)) write(unit(n - 4), sums_.data() + (n - 4) % 2 * kRows * columns_ * kRows);
    }
    _tile_release();
  }

  void advance(Unit& unit) const {
    if (++unit.block < kBlocks) return;
    unit.block = 0;
    unit.slot = (unit.slot + 1) % kHeads;
    if (++unit.head < tables_.heads) return;
    unit.head = 0;
    ++unit.window;
  }

  LIC_FAST_TARGET bool locate(const WindowRow& window_row, std::size_t window) {
    Windows::Places& places = places_[window % kWindows];
    const bool masked = Windows::locate<std::uint16_t>(problem_, places, window_row, window);
    Windows::address<std::uint16_t>(places, problem_.out, window_row.image, places.outs);
    for (const void*& row : places.rows) {
      if (row == nullptr) row = padding_.data();
    }
    return masked;
  }

  using Rows = const std::vector<const void*>&;

  LIC_FAST_TARGET LIC_FAST_INLINE static const std::uint16_t* row(Rows rows, std::size_t token,
                                                                  std::size_t channel) {
    return static_cast<const std::uint16_t*>(rows[token]) + channel;
  }

  /// A head's queries, its keys with pairs of numbers as rows, its values with pairs of tokens as
  /// rows, and a column of ones.
  LIC_FAST_TARGET void gather(const Unit& unit) {
    const Windows::Places& places = places_[unit.window % kWindows];
    const std::size_t begin = unit.head * size_, width = chunks_ * kNumbers;
    ask_for_next(places, begin);
    std::uint16_t* const queries = queries_.data() + unit.slot * kTokens * width;
    for (std::size_t e = 0; e < size_; e += kNumbers) {
      const auto there =
          static_cast<__mmask32>(size_ - e < kNumbers ? (1u << (size_ - e)) - 1 : ~0u);
      for (std::size_t j = 0; j < kTokens; ++j) {
        _mm512_store_si512(queries + j * width + e,
                           _mm512_maskz_loadu_epi16(there, row(places.rows, j, begin + e)));
      }
    }
    std::uint32_t* const keys = keys_.data() + unit.slot * chunks_ * kBlocks * kKeyTile;
    for (std::size_t block = 0; block < kBlocks; ++block) {
      for (std::size_t e = 0; e < size_; e += kGroup) {
        transpose_keys(places.rows, block * kRows, channels_ + begin + e,
                       keys + (e / chunk_ * kBlocks + block) * kKeyTile + e % chunk_ / 2 * kRows);
      }
    }
    std::uint32_t* const values = values_.data() + unit.slot * kParts * columns_ * kValueTile;
    for (std::size_t part = 0; part < kParts; ++part) {
      for (std::size_t column = 0; column < columns_; ++column) {
        pair_values(places.rows, part * kKeys, 2 * channels_ + begin, column,
                    values + (part * columns_ + column) * kValueTile);
      }
    }
  }

  /// Has the same of the next window, which is beside this one, on its way: runs of a window's
  /// numbers are too short for the processor to see it coming.
  LIC_FAST_TARGET void ask_for_next(const Windows::Places& places, std::size_t begin) const {
    const std::size_t last = begin + size_ - 1;
    const std::size_t next_rows = tables_.window * problem_.qkv.pixel;
    const std::size_t next_outs = tables_.window * problem_.out.pixel;
    for (std::size_t j = 0; j < kTokens; ++j) {
      if (places.outs[j] == nullptr) continue;
      const std::uint16_t* const next = row(places.rows, j, next_rows + last);
      for (std::size_t i = 0; i < 3; ++i) LIC_FAST_PREFETCH(next + i * channels_);
      LIC_FAST_PREFETCH_WRITTEN(static_cast<std::uint16_t*>(places.outs[j]) + next_outs + last);
    }
  }

  /// Of 16 tokens' keys eight numbers, as four rows of their pairs.
  LIC_FAST_TARGET static void transpose_keys(Rows rows, std::size_t token, std::size_t channel,
                                             std::uint32_t* to) {
    const auto four = [&](std::size_t i) LIC_FAST_TARGET {
      const auto eight = [&](std::size_t j) LIC_FAST_TARGET {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row(rows, token + j, channel)));
      };
      __m512i all = _mm512_zextsi128_si512(eight(i));
      all = _mm512_mask_broadcast_i32x4(all, 0x00F0, eight(4 + i));
      all = _mm512_mask_broadcast_i32x4(all, 0x0F00, eight(8 + i));
      return _mm512_mask_broadcast_i32x4(all, 0xF000, eight(12 + i));
    };
    const __m512i a = four(0), b = four(1), c = four(2), d = four(3);
    const __m512i ab = _mm512_unpacklo_epi32(a, b), cd = _mm512_unpacklo_epi32(c, d);
    const __m512i high_ab = _mm512_unpackhi_epi32(a, b), high_cd = _mm512_unpackhi_epi32(c, d);
    _mm512_store_si512(to, _mm512_unpacklo_epi64(ab, cd));
    _mm512_store_si512(to + kRows, _mm512_unpackhi_epi64(ab, cd));
    _mm512_store_si512(to + 2 * kRows, _mm512_unpacklo_epi64(high_ab, high_cd));
    _mm512_store_si512(to + 3 * kRows, _mm512_unpackhi_epi64(high_ab, high_cd));
  }

  /// 16 numbers of kKeys tokens' values, those of two tokens beside each other; behind a head's
  /// last number a one.
  LIC_FAST_TARGET void pair_values(Rows rows, std::size_t token, std::size_t channel,
                                   std::size_t column, std::uint32_t* to) const {
    constexpr int kTwoOnes = 0x3F803F80;
    const std::size_t first = column * kRows, count = std::min(kRows, size_ - first);
    const auto there = static_cast<__mmask16>((1u << count) - 1);
    const __m512i ones =
        _mm512_maskz_set1_epi32(static_cast<__mmask16>(count < kRows ? 1u << count : 0u), kTwoOnes);
    for (std::size_t j = 0; j < kKeys; j += 2, to += kRows) {
      const auto numbers = [&](std::size_t i) LIC_FAST_TARGET {
        return _mm512_cvtepu16_epi32(
            _mm256_maskz_loadu_epi16(there, row(rows, token + i, channel + first)));
      };
      const __m512i second = _mm512_slli_epi32(numbers(j + 1), 16);
      _mm512_store_si512(to, _mm512_or_si512(_mm512_or_si512(numbers(j), second), ones));
    }
  }

  /// Products of the unit's queries with all keys, to (kRows, kTokens).
  LIC_FAST_TARGET void multiply_keys(const Unit& unit, float* logits) const {
    constexpr std::size_t kBytes = kTokens * sizeof(float);
    const std::size_t width = chunks_ * kNumbers;
    const std::uint16_t* const queries =
        queries_.data() + (unit.slot * kTokens + unit.block * kRows) * width;
    const std::uint32_t* keys = keys_.data() + unit.slot * chunks_ * kBlocks * kKeyTile;
    cpu::written();
    _tile_zero(0);
    if constexpr (kBlocks == 4) {
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
    }
    for (std::size_t chunk = 0; chunk < chunks_; ++chunk, keys += kBlocks * kKeyTile) {
      _tile_loadd(4, queries + chunk * chunk_, width * sizeof(std::uint16_t));
      _tile_loadd(5, keys, cpu::kTileBytes);
      _tile_dpbf16ps(0, 4, 5);
      if constexpr (kBlocks == 4) {
        _tile_loadd(5, keys + kKeyTile, cpu::kTileBytes);
        _tile_dpbf16ps(1, 4, 5);
        _tile_loadd(5, keys + 2 * kKeyTile, cpu::kTileBytes);
        _tile_dpbf16ps(2, 4, 5);
        _tile_loadd(5, keys + 3 * kKeyTile, cpu::kTileBytes);
        _tile_dpbf16ps(3, 4, 5);
      }
    }
    _tile_stored(0, logits, kBytes);
    if constexpr (kBlocks == 4) {
      _tile_stored(1, logits + kRows, kBytes);
      _tile_stored(2, logits + 2 * kRows, kBytes);
      _tile_stored(3, logits + 3 * kRows, kBytes);
    }
  }

  /// Exponentials of the logits over each query's largest, as bfloat16.
  LIC_FAST_TARGET void weigh(const Unit& unit, float* logits, std::uint16_t* weights) const {
    const Windows::Places& places = places_[unit.window % kWindows];
    const __m512 scale = _mm512_set1_ps(tables_.scale);
    const std::size_t first = unit.block * kRows;
    __m512 largest[kRows];
    for (std::size_t i = 0; i < kRows; ++i) {
      const float* const bias = tables_.bias.data() + (unit.head * kTokens + first + i) * kTokens;
      const float* const mask =
          places.masks.data() + places.regions[first + i] * tables_.padded_tokens;
      __m512 most = _mm512_set1_ps(-std::numeric_limits<float>::infinity());
      LIC_FAST_UNROLL(4)
      for (std::size_t j = 0; j < kTokens; j += kRows) {
        __m512 x = _mm512_fmadd_ps(_mm512_load_ps(logits + i * kTokens + j), scale,
                                   _mm512_load_ps(bias + j));
        if (unit.masked) x = _mm512_add_ps(x, _mm512_load_ps(mask + j));
        _mm512_store_ps(logits + i * kTokens + j, x);
        most = _mm512_max_ps(most, x);
      }
      largest[i] = most;
    }
    alignas(64) float all[kRows];
    _mm512_store_ps(all, largest_of_each(largest));
    for (std::size_t i = 0; i < kRows; ++i) {
      const __m512 most = _mm512_set1_ps(all[i]);
      const auto power = [&](std::size_t j) LIC_FAST_TARGET {
        return rough_power_of_two(_mm512_sub_ps(_mm512_load_ps(logits + i * kTokens + j), most));
      };
      if constexpr (kTokens == kRows) {
        _mm256_store_si256(reinterpret_cast<__m256i*>(weights + i * kTokens),
                           (__m256i)_mm512_cvtneps_pbh(power(0)));
      } else {
        LIC_FAST_UNROLL(2)
        for (std::size_t j = 0; j < kTokens; j += kNumbers) {
          _mm512_store_si512(weights + i * kTokens + j,
                             (__m512i)_mm512_cvtne2ps_pbh(power(j + kRows), power(j)));
        }
      }
    }
  }

  /// Sums of the values under the exponentials, and of these, to (kRows, columns_ * kRows).
  LIC_FAST_TARGET void multiply_values(const Unit& unit, const std::uint16_t* weights,
                                       float* sums) const {
    const std::size_t bytes = columns_ * cpu::kTileBytes;
    const std::uint32_t* values = values_.data() + unit.slot * kParts * columns_ * kValueTile;
    cpu::written();
    for (std::size_t column = 0; column < columns_; column += 2, values += 2 * kValueTile) {
      const bool both = column + 1 < columns_;
      _tile_zero(0);
      _tile_zero(1);
      for (std::size_t part = 0; part < kParts; ++part) {
        const std::uint32_t* const own = values + part * columns_ * kValueTile;
        _tile_loadd(6, weights + part * kKeys, kTokens * sizeof(std::uint16_t));
        _tile_loadd(7, own, cpu::kTileBytes);
        _tile_dpbf16ps(0, 6, 7);
        if (!both) continue;
        _tile_loadd(7, own + kValueTile, cpu::kTileBytes);
        _tile_dpbf16ps(1, 6, 7);
      }
      _tile_stored(0, sums + column * kRows, bytes);
      if (both) _tile_stored(1, sums + (column + 1) * kRows, bytes);
    }
  }

  /// The averages to where they belong.
  LIC_FAST_TARGET void write(const Unit& unit, const float* sums) const {
    void* const* const outs = places_[unit.window % kWindows].outs.data() + unit.block * kRows;
    for (std::size_t i = 0; i < kRows; ++i, sums += columns_ * kRows) {
      if (outs[i] == nullptr) continue;
      auto* const out = static_cast<std::uint16_t*>(outs[i]) + unit.head * size_;
      const __m512 inverse = _mm512_set1_ps(1.0f / sums[size_]);
      for (std::size_t e = 0; e < size_; e += kRows) {
        const auto there = static_cast<__mmask16>((1u << std::min(kRows, size_ - e)) - 1);
        _mm256_mask_storeu_epi16(
            out + e, there,
            (__m256i)_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_load_ps(sums + e), inverse)));
      }
    }
  }

  const Problem& problem_;
  const Tables& tables_;
  const std::size_t size_, channels_;
  const std::size_t chunks_, chunk_;  // that a head's numbers are multiplied in, and their size
  const std::size_t columns_;         // tiles of a row of values and the one behind them
  std::vector<Windows::Places> places_;
  std::vector<std::uint16_t> padding_;  // (3, heads, head_size)
  cpu::Lines<std::uint16_t> queries_;   // (kHeads, kTokens, chunks_ * kNumbers)
  cpu::Lines<std::uint32_t> keys_;      // (kHeads, chunks_, kBlocks, pairs of numbers, kRows)
  cpu::Lines<std::uint32_t> values_;    // (kHeads, kParts, columns_, pairs of tokens, kRows)
  // Of two units each.
  cpu::Lines<float> logits_;           // (kRows, kTokens): of a query with all keys
  cpu::Lines<std::uint16_t> weights_;  // (kRows, kTokens)
  cpu::Lines<float> sums_;             // (kRows, columns_ * kRows)
};

}  // namespace

ForwardKernel amx_forward(const Parameters& parameters) {
  const bool fits = parameters.bfloat16 && parameters.head_size % kGroup == 0 &&
                    parameters.head_size <= kMostOfHead;
  if (fits && parameters.window == 4) return &TileForward<16>::run;
  if (fits && parameters.window == 8) return &TileForward<64>::run;
  return nullptr;
}

}  // namespace lic_fast::attention

#endif
