// Some tiles of a convolution.

#include "tiles/convolution.hpp"

#ifdef LIC_FAST_TILES

// GCC takes what its own intrinsics leave undefined for a mistake (its bug 105593).
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

#include <immintrin.h>

#include <cmath>
#include <cstring>
#include <vector>

#include "cpu/bfloat16.hpp"
#include "cpu/normal_tail.hpp"
#include "cpu/tiles.hpp"

#define LIC_FAST_TARGET LIC_FAST_AMX

namespace lic_fast::tiles {
namespace {

#define LIC_FAST_BFLOAT16_STORES
#include "cpu/vectors_avx512.inl"
//
#include "cpu/activations.inl"

/// Tiles whose sums are computed together.
constexpr std::size_t kTogether = 4;
/// Tiles whose outputs are all computed before those of others, so that they are written while they
/// are near, and the numbers of weights up to which that is worth reading these more often.
constexpr std::size_t kNear = 8, kFewWeights = std::size_t{1} << 16;
/// Pixels ahead of those written whose lines are asked for: else maps that come from memory take up
/// to half as long again.
constexpr std::size_t kAhead = 32;

/// Outputs of a block whose numbers lie side by side in the result, and in the residual.
struct Segment {
  __mmask16 lanes;
  std::ptrdiff_t out, residual;  // where lane 0 would be, from the pixel's first number
};

/// Where the outputs of a block go.
struct Places {
  std::size_t count = 0;
  Segment segments[kBlock];

  Places(const Problem& p, std::size_t block) {
    const std::size_t of_pixel = p.weights.outputs / (p.shuffle * p.shuffle);
    const std::size_t first = block * kBlock;
    const std::size_t lanes = std::min(kBlock, p.weights.outputs - first);
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      const std::size_t pixel = (first + lane) / of_pixel, channel = (first + lane) % of_pixel;
      const auto place = [&](std::size_t row, std::size_t column) {
        return static_cast<std::ptrdiff_t>(pixel / p.shuffle * row + pixel % p.shuffle * column +
                                           channel) -
               static_cast<std::ptrdiff_t>(lane);
      };
      const std::ptrdiff_t out = place(p.out.row, p.out.pixel);
      const std::ptrdiff_t residual = place(p.residual.row, p.residual.pixel);
      const bool begins =
          count == 0 || segments[count - 1].out != out || segments[count - 1].residual != residual;
      if (begins) segments[count++] = {0, out, residual};
      Segment& segment = segments[count - 1];
      segment.lanes = static_cast<__mmask16>(segment.lanes | 1u << lane);
    }
  }

  bool whole() const { return count == 1 && segments[0].lanes == 0xFFFF; }
};

/// The last step of an output, for the numbers of tiles that have been summed: bit by bit, in the
/// time in which the processor multiplies others.
template <Activation kActivation, bool kResidual, std::size_t kBlocks>
class Ending {
 public:
  LIC_FAST_TARGET Ending(const Part& part, std::size_t block, const Places* places)
      : part_(part), places_(places + block) {
    for (std::size_t b = 0; b < kBlocks; ++b) {
      bias_[b] = Vector::load(part.problem.weights.bias(block + b));
    }
    const auto after = [&](const Segment& first, const Segment& second) {
      constexpr auto kNext = static_cast<std::ptrdiff_t>(kBlock);
      return second.out == first.out + kNext && second.residual == first.residual + kNext;
    };
    whole_ = places_[0].whole();
    if constexpr (kBlocks == 2) {
      whole_ =
          whole_ && places_[1].whole() && after(places_[0].segments[0], places_[1].segments[0]);
    }
  }

  /// Of `count` tiles from `tile` on: sums, (count, kPixels, kBlocks, kBlock).
  LIC_FAST_TARGET void begin(std::size_t tile, std::size_t count, const float* sums) {
    tile_ = tile;
    tiles_ = count;
    next_sums_ = sums;
  }

  std::size_t pixels() const { return left_ + tiles_ * part_.problem.tile_size(); }

  /// The next `count` pixels, as far as there are any.
  LIC_FAST_TARGET LIC_FAST_INLINE void some(std::size_t count) {
    while (count > 0) {
      if (left_ == 0) {
        if (tiles_ == 0) return;
        open();
      }
      const std::size_t here = std::min(count, left_);
      if (whole_) {
        run<true>(here);
      } else {
        run<false>(here);
      }
      left_ -= here;
      count -= here;
    }
  }

 private:
  LIC_FAST_TARGET void open() {
    const Problem& p = part_.problem;
    const std::size_t row = (part_.row + tile_ / part_.tiles) * p.shuffle;
    const std::size_t index = part_.tile + tile_ % part_.tiles, fresh = p.tile_fresh(index);
    const auto place = [&](const auto& map) {
      return map.data + map.image * part_.image + map.row * row + map.pixel * p.shuffle * fresh;
    };
    out_ = place(p.out);
    if constexpr (kResidual) residual_ = place(p.residual);
    const std::size_t known = fresh - p.tile_begin(index);
    left_ = p.tile_size() - known;
    sums_ = next_sums_ + known * kBlocks * kBlock;
    next_sums_ += kPixels * kBlocks * kBlock;
    ++tile_;
    --tiles_;
  }

  template <bool kWhole>
  LIC_FAST_TARGET LIC_FAST_INLINE void run(std::size_t count) {
    const Problem& p = part_.problem;
    const std::size_t next = p.shuffle * p.out.pixel;
    const std::size_t next_residual = p.shuffle * p.residual.pixel;
    const float* sums = sums_;
    std::uint16_t* out = out_;
    const std::uint16_t* residual = residual_;
    for (; count > 0; --count, sums += kBlocks * kBlock, out += next) {
      LIC_FAST_PREFETCH_WRITTEN(out + kAhead * next + places_->segments[0].out);
      if constexpr (kResidual) {
        LIC_FAST_PREFETCH(residual + kAhead * next_residual + places_->segments[0].residual);
      }
      Vector values[kBlocks];
      LIC_FAST_UNROLL(2)
      for (std::size_t b = 0; b < kBlocks; ++b) {
        Vector sum = add(Vector::load(sums + b * kBlock), bias_[b]);
        if constexpr (kResidual) {
          sum =
              add(sum, kWhole ? Vector::load(residual + places_->segments[0].residual + b * kBlock)
                              : loaded(places_[b], residual));
        }
        values[b] = activate(sum, kActivation);
      }
      if constexpr (kResidual) residual += next_residual;
      if constexpr (!kWhole) {
        for (std::size_t b = 0; b < kBlocks; ++b) store(places_[b], values[b], out);
      } else if constexpr (kBlocks == 1) {
        values[0].store(out + places_->segments[0].out);
      } else {
        _mm512_storeu_si512(out + places_->segments[0].out,
                            (__m512i)_mm512_cvtne2ps_pbh(values[1].v, values[0].v));
      }
    }
    sums_ = sums;
    out_ = out;
    residual_ = residual;
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static Vector loaded(const Places& places,
                                                       const std::uint16_t* from) {
    __m256i bits = _mm256_setzero_si256();
    for (std::size_t s = 0; s < places.count; ++s) {
      const Segment& segment = places.segments[s];
      bits = _mm256_mask_loadu_epi16(bits, segment.lanes, from + segment.residual);
    }
    return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16))};
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static void store(const Places& places, Vector values,
                                                    std::uint16_t* to) {
    const auto bits = (__m256i)_mm512_cvtneps_pbh(values.v);
    for (std::size_t s = 0; s < places.count; ++s) {
      const Segment& segment = places.segments[s];
      _mm256_mask_storeu_epi16(to + segment.out, segment.lanes, bits);
    }
  }

  const Part& part_;
  const Places* const places_;
  bool whole_;  // whether all outputs lie side by side
  Vector bias_[kBlocks];
  std::size_t tile_ = 0, tiles_ = 0, left_ = 0;
  const float *next_sums_ = nullptr, *sums_ = nullptr;
  std::uint16_t* out_ = nullptr;
  const std::uint16_t* residual_ = nullptr;
};

/// Sums of kTiles tiles from `tile` on for the blocks of these steps, to (kTiles, kPixels, kBlocks,
/// kBlock). The processor's tiles are sums, 0 to 3, the input, 4 and 5, and weights, 6 and 7.
template <std::size_t kTiles, std::size_t kBlocks, class Before>
LIC_FAST_TARGET LIC_FAST_INLINE void multiply(const Part& part, const Weights::Steps& steps,
                                              std::size_t tile, float* sums, Before& before) {
  static_assert(kTiles * kBlocks <= kTogether, "there are eight tiles");
  const Problem& p = part.problem;
  const std::uint16_t* x[kTogether];
  for (std::size_t t = 0; t < kTiles; ++t) {
    const std::size_t row = (tile + t) / part.tiles, column = (tile + t) % part.tiles;
    const std::size_t pixel = p.tile_begin(part.tile + column) - p.tile_begin(part.tile);
    x[t] = part.x + row * part.next_row + pixel * part.next_pixel;
  }
  const std::size_t next_pixel = part.next_pixel * sizeof(std::uint16_t);
  const std::uint16_t* weights = steps.tiles;
  const std::size_t share =
      (before.pixels() + steps.count - 1) / std::max<std::size_t>(steps.count, 1);
  _tile_zero(0);
  if constexpr (kTiles * kBlocks > 1) _tile_zero(1);
  if constexpr (kTiles * kBlocks > 2) _tile_zero(2);
  if constexpr (kTiles * kBlocks > 2) _tile_zero(3);
  for (std::size_t i = 0; i < steps.count; ++i, weights += kBlocks * kWeightTile) {
    const Weights::Step& step = p.weights.step(steps.begin + i);
    const std::size_t at = step.run * part.next_run + step.begin;
    _tile_loadd(6, weights, cpu::kTileBytes);
    if constexpr (kBlocks == 2) {
      _tile_loadd(7, weights + kWeightTile, cpu::kTileBytes);
      _tile_loadd(4, x[0] + at, next_pixel);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kTiles == 2) {
        _tile_loadd(5, x[1] + at, next_pixel);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    } else {
      _tile_loadd(4, x[0] + at, next_pixel);
      _tile_dpbf16ps(0, 4, 6);
      if constexpr (kTiles == 4) {
        _tile_loadd(5, x[1] + at, next_pixel);
        _tile_dpbf16ps(1, 5, 6);
        _tile_loadd(4, x[2] + at, next_pixel);
        _tile_dpbf16ps(2, 4, 6);
        _tile_loadd(5, x[3] + at, next_pixel);
        _tile_dpbf16ps(3, 5, 6);
      }
    }
    before.some(share);
  }
  before.some(before.pixels());
  constexpr std::size_t kBytes = kBlocks * kBlock * sizeof(float);
  constexpr std::size_t kNext = kPixels * kBlock;
  _tile_stored(0, sums, kBytes);
  if constexpr (kBlocks == 2) {
    _tile_stored(1, sums + kBlock, kBytes);
    if constexpr (kTiles == 2) {
      _tile_stored(2, sums + 2 * kNext, kBytes);
      _tile_stored(3, sums + 2 * kNext + kBlock, kBytes);
    }
  } else if constexpr (kTiles == 4) {
    _tile_stored(1, sums + kNext, kBytes);
    _tile_stored(2, sums + 2 * kNext, kBytes);
    _tile_stored(3, sums + 3 * kNext, kBytes);
  }
}

/// Tiles first to last - 1, for one block or two.
template <Activation kActivation, bool kResidual, std::size_t kBlocks>
LIC_FAST_TARGET void compute_blocks(const Part& part, std::size_t block, const Places* places,
                                    std::size_t first, std::size_t last) {
  constexpr std::size_t kTiles = kTogether / kBlocks;
  alignas(64) float sums[2][kTogether * kPixels * kBlock];
  Ending<kActivation, kResidual, kBlocks> ending(part, block, places);
  const Weights::Steps steps = part.problem.weights.steps(block / 2);
  std::size_t tile = first, which = 0;
  for (; tile + kTiles <= last; tile += kTiles, which ^= 1) {
    multiply<kTiles, kBlocks>(part, steps, tile, sums[which], ending);
    ending.begin(tile, kTiles, sums[which]);
  }
  for (; tile < last; ++tile, which ^= 1) {
    multiply<1, kBlocks>(part, steps, tile, sums[which], ending);
    ending.begin(tile, 1, sums[which]);
  }
  ending.some(ending.pixels());
}

using Compute = void (*)(const Part& part, std::size_t block, const Places* places,
                         std::size_t first, std::size_t last);

template <bool kResidual, std::size_t kBlocks>
Compute compute_with(Activation activation) {
  switch (activation) {
    case Activation::kRelu:
      return &compute_blocks<Activation::kRelu, kResidual, kBlocks>;
    case Activation::kLeakyRelu:
      return &compute_blocks<Activation::kLeakyRelu, kResidual, kBlocks>;
    case Activation::kGelu:
      return &compute_blocks<Activation::kGelu, kResidual, kBlocks>;
    default:
      return &compute_blocks<Activation::kNone, kResidual, kBlocks>;
  }
}

template <std::size_t kBlocks>
Compute compute_of(const Problem& p) {
  return p.residual.data == nullptr ? compute_with<false, kBlocks>(p.activation)
                                    : compute_with<true, kBlocks>(p.activation);
}

}  // namespace

LIC_FAST_TARGET void compute_part(const Part& part) {
  static thread_local std::vector<Places> places;
  const Problem& p = part.problem;
  const std::size_t blocks = p.weights.blocks(), tiles = part.rows * part.tiles;
  places.clear();
  for (std::size_t block = 0; block < blocks; ++block) places.emplace_back(p, block);
  cpu::TileShapes shapes;
  for (std::size_t i = 0; i < 6; ++i) shapes.set(i, p.tile_size(), cpu::kTileBytes);
  for (std::size_t i = 6; i < 8; ++i) shapes.set(i, kInputs / 2, cpu::kTileBytes);
  shapes.apply();
  const Compute two = compute_of<2>(p), one = compute_of<1>(p);
  const std::size_t together = p.weights.size() <= kFewWeights ? kNear : tiles;
  for (std::size_t first = 0; first < tiles; first += together) {
    const std::size_t last = std::min(tiles, first + together);
    std::size_t block = 0;
    for (; block + 2 <= blocks; block += 2) two(part, block, places.data(), first, last);
    if (block < blocks) one(part, block, places.data(), first, last);
  }
  _tile_release();
}

}  // namespace lic_fast::tiles

#endif
