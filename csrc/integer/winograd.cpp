#include "integer/winograd.hpp"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <stdexcept>

#include "cpu/arena.hpp"
#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"

namespace lic_fast::integer {
namespace {

constexpr std::size_t kTaps = kWinogradTaps, kQuads = kSegment / kQuad;
/// Weights of a quad of input channels and a block of output channels, at one tap.
constexpr std::size_t kSquare = kBlock * kQuad;
/// Elements of a cache line.
constexpr std::size_t kLine16 = 64 / sizeof(std::int16_t);
/// High halves of activations that use 9 bits.
constexpr std::uint8_t kNarrowTop = 2 * kNarrowCentre / (kHalfTop + 1) - 1;

std::int16_t word(int x) { return static_cast<std::int16_t>(x); }

/// (2G) of F(2 x 2, 3 x 3) from the left, of the three rows of a 3 x n matrix that begin at `x`.
template <std::size_t n>
void transform(const std::int16_t* x, std::int16_t* to) {
  for (std::size_t i = 0; i < n; ++i) {
    const int a = x[i], b = x[n + i], c = x[2 * n + i];
    to[i] = word(2 * a);
    to[n + i] = word(a + b + c);
    to[2 * n + i] = word(a - b + c);
    to[3 * n + i] = word(2 * c);
  }
}

/// How a problem's tiles and units of output channels are divided into tasks.
struct Division {
  std::size_t tiles, tile_tasks, units, unit_tasks;

  Division(const Problem& p, Form form, std::size_t pieces, unsigned threads)
      : tiles(tiles_of(p, form)) {
    const Weights& w = p.weights;
    // Each weight is used for many of a task's tiles, which, transformed, stay in a near cache for
    // each position. A multiple of what any instruction set multiplies together.
    constexpr std::size_t kTogether = 12, kMost = 4, kBytes = 128 << 10;
    const std::size_t fit = kBytes / (sizeof(std::int16_t) * kSegment * pieces);
    const std::size_t share = threads < 2 ? tiles : tiles / threads;
    const std::size_t of_task =
        std::clamp<std::size_t>(std::min(fit, share) / kTogether, 1, kMost) * kTogether;
    tile_tasks = std::max<std::size_t>((tiles + of_task / 2) / of_task, 1);
    // Tiles that are too few for the threads are transformed by several of them.
    units = w.groups * ((w.blocks + kUnit - 1) / kUnit);
    unit_tasks = std::clamp<std::size_t>(threads / tile_tasks, 1, units);
  }

  static std::size_t tiles_of(const Problem& p, Form form) {
    const std::size_t side = outputs_of(form);
    return p.batch * ((p.height + side - 1) / side) * ((p.width + side - 1) / side);
  }
  std::size_t first_tile(std::size_t task) const { return tiles * task / tile_tasks; }
  std::size_t most_tiles() const { return (tiles + tile_tasks - 1) / tile_tasks; }
  std::size_t first_unit(std::size_t task) const { return units * task / unit_tasks; }
};

/// Bits of `count` channels of kAtOnce pixels.
constexpr std::ptrdiff_t kAtOnce = 4;
void gather(const std::uint8_t* pixel, std::ptrdiff_t step, std::size_t count, std::uint8_t* to) {
  const std::uint8_t *const second = pixel + step, *const third = second + step;
  const std::uint8_t* const fourth = third + step;
  for (std::size_t c = 0; c < count; ++c) {
    to[c] = static_cast<std::uint8_t>(to[c] | pixel[c] | second[c] | third[c] | fourth[c]);
  }
}

/// Of each group's segments, whether a high half of its activations is beyond kNarrowTop.
std::vector<std::uint8_t> wide_segments(const Problem& p, unsigned threads) {
  const Weights& w = p.weights;
  std::vector<std::uint8_t> all(p.border[0], p.border[0] + w.in_channels);
  const std::size_t rows = p.batch * p.height;
  const std::size_t tasks = std::clamp<std::size_t>(rows / 4, 1, std::max(threads, 1u));
  std::mutex mutex;
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t task) {
    std::vector<std::uint8_t> own(w.in_channels);
    for (std::size_t row = rows * task / tasks; row < rows * (task + 1) / tasks; ++row) {
      const auto width = static_cast<std::ptrdiff_t>(p.width);
      const std::uint8_t* const first = p.x[0].at<std::size_t>(row / p.height, row % p.height, 0);
      std::ptrdiff_t x = 0;
      for (; x + kAtOnce <= width; x += kAtOnce) {
        gather(first + x * p.x[0].pixel, p.x[0].pixel, w.in_channels, own.data());
      }
      for (; x < width; ++x) gather(first + x * p.x[0].pixel, 0, w.in_channels, own.data());
    }
    const std::lock_guard<std::mutex> lock(mutex);
    for (std::size_t c = 0; c < w.in_channels; ++c) {
      all[c] = static_cast<std::uint8_t>(all[c] | own[c]);
    }
  });
  const std::size_t segments = (w.group_in + kSegment - 1) / kSegment;
  std::vector<std::uint8_t> wide(w.groups * segments);
  for (std::size_t c = 0; c < w.in_channels; ++c) {
    if (all[c] > kNarrowTop) wide[c / w.group_in * segments + c % w.group_in / kSegment] = 1;
  }
  return wide;
}

/// The largest sum of magnitudes of a run's weights, for which its sums can be divided.
std::int32_t limit_of(Form form, Part part) {
  const std::int32_t half = kHalfTop + 1;
  if (form == Form::kTwo) return (1 << 29) / (part == Part::kWhole ? kCentre : half) - 1;
  return (1 << 25) / (part == Part::kWhole ? kNarrowCentre : half) - 1;
}

class Planner {
 public:
  Planner(const WinogradWeights& weights, const Problem& p, Form form)
      : weights_(weights), problem_(p), form_(form), lanes_(p.weights.blocks * kBlock) {}

  Plan plan(std::size_t group, const std::uint8_t* wide) {
    group_ = group;
    plan_ = {};
    plan_.offsets.assign(lanes_, 0);
    const std::size_t segments = weights_.segments();
    const auto add_all = [&](Part part, bool of_wide) {
      for (std::size_t s = 0; s < segments; ++s) {
        if ((wide != nullptr && wide[s] != 0) == of_wide) add(s, part);
      }
    };
    if (problem_.halves == 1) {
      add_all(Part::kOnly, false);
    } else {
      add_all(Part::kWhole, false);
      add_all(Part::kHigh, true);
      add_all(Part::kLow, true);
    }
    return std::move(plan_);
  }

 private:
  void add(std::size_t segment, Part part) {
    const std::int32_t* const magnitudes = weights_.magnitudes(group_, segment);
    const std::size_t pairs = kSegment / kPair, first = segment * pairs;
    bool fits = !plan_.runs.empty() && plan_.runs.back().part == part &&
                plan_.runs.back().first + plan_.runs.back().count == first;
    const std::int32_t limit = limit_of(form_, part);
    for (std::size_t i = 0; fits && i < lanes_; ++i) fits = sums_[i] <= limit - magnitudes[i];
    if (!fits) {
      sums_.assign(lanes_, 0);
      plan_.runs.push_back({first, 0, plan_.pieces.size(), part});
    }
    for (std::size_t i = 0; i < lanes_; ++i) sums_[i] += magnitudes[i];
    plan_.runs.back().count += std::min(pairs, weights_.pairs() - first);
    plan_.pieces.push_back({segment, part});
    if (part != Part::kWhole) return;
    const std::int32_t* const sums = weights_.sums(group_, segment);
    const std::int32_t centre = form_ == Form::kTwo ? kCentre : kNarrowCentre;
    for (std::size_t i = 0; i < lanes_; ++i) {
      plan_.offsets[i] = static_cast<std::int32_t>(static_cast<std::uint32_t>(plan_.offsets[i]) +
                                                   static_cast<std::uint32_t>(sums[i]) *
                                                       static_cast<std::uint32_t>(centre));
    }
  }

  const WinogradWeights& weights_;
  const Problem& problem_;
  const Form form_;
  const std::size_t lanes_;
  std::size_t group_ = 0;
  Plan plan_;
  std::vector<std::int32_t> sums_;  // of magnitudes, of the last run
};

}  // namespace

WinogradWeights::WinogradWeights(const Weights& w, Form form, unsigned threads)
    : positions_(positions_of(form)),
      blocks_(w.blocks),
      pairs_(w.quads * kQuad / kPair),
      segments_((w.group_in + kSegment - 1) / kSegment),
      sums_(w.groups * segments_ * blocks_ * kBlock),
      magnitudes_(sums_.size()) {
  // Written once and by all threads: it may be most of a model's memory.
  const bool four = form == Form::kFour;
  const std::size_t count = w.groups * w.blocks;
  if (four) {
    taps_.resize(count * kTaps * block_size());
  } else {
    transformed_.resize(count * positions_ * block_size());
  }
  cpu::ThreadPool::instance().run(count, threads, [&](std::size_t i) {
    const std::size_t group = i / blocks_, block = i % blocks_;
    measure(w.block(group, block), group, block);
    if (four) {
      pack_taps(w.block(group, block), taps_.data() + i * kTaps * block_size());
    } else {
      pack_transformed(
          w.block(group, block),
          transformed_.data() + group * positions_ * position_size() + block * block_size());
    }
  });
}

void WinogradWeights::measure(const std::int8_t* weights, std::size_t group, std::size_t block) {
  const std::size_t quads = pairs_ * kPair / kQuad;
  for (std::size_t i = 0; i < kTaps * quads * kBlock; ++i, weights += kQuad) {
    const std::size_t segment = i / kBlock % quads / kQuads;
    const std::size_t lane =
        ((group * segments_ + segment) * blocks_ + block) * kBlock + i % kBlock;
    for (std::size_t k = 0; k < kQuad; ++k) {
      const int weight = weights[k];
      sums_[lane] += weight;
      magnitudes_[lane] += weight < 0 ? -weight : weight;
    }
  }
}

void WinogradWeights::pack_taps(const std::int8_t* weights, std::int8_t* to) const {
  constexpr std::size_t kPairs = kQuad / kPair;
  for (std::size_t i = 0; i < kTaps * block_size(); ++i) {
    const std::size_t k = i % kPair, lane = i / kPair % kBlock;
    const std::size_t tap = i / kPair / kBlock % kTaps, pair = i / kPair / kBlock / kTaps;
    to[i] = weights[(tap * (pairs_ / kPairs) + pair / kPairs) * kSquare + lane * kQuad +
                    pair % kPairs * kPair + k];
  }
}

void WinogradWeights::pack_transformed(const std::int8_t* weights, std::int16_t* to) const {
  constexpr std::size_t kSide = 4;
  const std::size_t quads = pairs_ * kPair / kQuad;
  for (std::size_t quad = 0; quad < quads; ++quad) {
    std::int16_t taps[kTaps * kSquare], rows[kSide * 3 * kSquare], all[kSide * kSide * kSquare];
    for (std::size_t tap = 0; tap < kTaps; ++tap) {
      const std::int8_t* const from = weights + (tap * quads + quad) * kSquare;
      for (std::size_t i = 0; i < kSquare; ++i) taps[tap * kSquare + i] = from[i];
    }
    transform<3 * kSquare>(taps, rows);
    for (std::size_t y = 0; y < kSide; ++y) {
      transform<kSquare>(rows + y * 3 * kSquare, all + y * kSide * kSquare);
    }
    for (std::size_t position = 0; position < kSide * kSide; ++position) {
      std::int16_t* const place = to + position * position_size() + quad * kSquare;
      const std::int16_t* const from = all + position * kSquare;
      // A quad of each output channel to two pairs.
      for (std::size_t i = 0; i < kSquare / kPair; ++i) {
        constexpr std::size_t kPairs = kQuad / kPair;
        std::memcpy(place + (i % kPairs * kBlock + i / kPairs) * kPair, from + i * kPair,
                    kPair * sizeof(std::int16_t));
      }
    }
  }
}

Choice choose(const Problem& p, cpu::Isa isa, unsigned threads) {
  const Weights& w = p.weights;
  // Measured: transforming fewer channels costs more than it saves, and so does transforming
  // weights for fewer tiles, or reading those that have been from memory.
  constexpr std::size_t kLeastChannels = 32, kLeastTiles = 12;
  const Kernels& all = kernels(isa);
  if (all.winograd[0] == nullptr || w.kernel != 3 || p.stride != 1 || w.group_in < kLeastChannels ||
      Division::tiles_of(p, Form::kTwo) < kLeastTiles) {
    return {Form::kDirect, {}};
  }
  const bool two = p.halves >= all.winograd_halves;
  if (Division::tiles_of(p, Form::kFour) >= kLeastTiles) {
    if (p.halves == 1) return {Form::kFour, {}};
    std::vector<std::uint8_t> wide = wide_segments(p, threads);
    // A wide segment costs 2 * 36 products for 16 outputs, by the other form 64.
    const auto count = static_cast<std::size_t>(std::count(wide.begin(), wide.end(), 1));
    if (5 * count <= 3 * wide.size()) return {Form::kFour, std::move(wide)};
  }
  return {two ? Form::kTwo : Form::kDirect, {}};
}

void convolve_by_winograd(const Problem& p, const Choice& choice, cpu::Isa isa, unsigned threads) {
  const Form form = choice.form;
  const auto compute = kernels(isa).winograd[form == Form::kFour ? 1 : 0];
  const Weights& w = p.weights;
  const WinogradWeights& weights = w.winograd(form, threads);
  std::vector<Plan> plans;
  std::size_t pieces = 0;
  for (std::size_t group = 0; group < w.groups; ++group) {
    const std::uint8_t* const wide =
        choice.wide.empty() ? nullptr : choice.wide.data() + group * weights.segments();
    plans.push_back(Planner(weights, p, form).plan(group, wide));
    pieces = std::max(pieces, plans.back().pieces.size());
  }
  const Division d(p, form, pieces, threads);
  const std::size_t positions = positions_of(form), outputs = outputs_of(form);
  // Lines that are an odd number apart do not meet in the same places of a cache.
  const std::size_t lines = (pieces * kSegment / kLine16) | 1;
  const std::size_t room = d.most_tiles();
  const std::size_t input_tile = lines * kLine16, input_position = room * input_tile + kLine16;
  const std::size_t product_block = room * kBlock + kLine32;
  const std::size_t blocks = std::min(kUnit, w.blocks);
  const std::size_t inputs = positions * input_position * sizeof(std::int16_t);
  const std::size_t products = blocks * positions * product_block * sizeof(std::int32_t);
  const std::size_t sums = blocks * outputs * outputs * room * kBlock * sizeof(std::int32_t);
  const std::size_t own_position = blocks * weights.block_size() + kLine16;
  const std::size_t own = form == Form::kFour ? positions * own_position * sizeof(std::int16_t) : 0;
  cpu::ThreadPool::instance().run(d.tile_tasks * d.unit_tasks, threads, [&](std::size_t i) {
    const cpu::ArenaPool::Arena scratch(cpu::ArenaPool::scratch, inputs + products + sums + own);
    std::uint8_t* const memory = scratch.bytes();
    const std::size_t tile_task = i / d.unit_tasks, unit_task = i % d.unit_tasks;
    const std::size_t tile = d.first_tile(tile_task), unit = d.first_unit(unit_task);
    const WinogradTask task{p,
                            weights,
                            plans,
                            tile,
                            d.first_tile(tile_task + 1) - tile,
                            unit,
                            d.first_unit(unit_task + 1) - unit,
                            reinterpret_cast<std::int16_t*>(memory),
                            input_position,
                            input_tile,
                            reinterpret_cast<std::int32_t*>(memory + inputs),
                            product_block,
                            reinterpret_cast<std::int32_t*>(memory + inputs + products),
                            reinterpret_cast<std::int16_t*>(memory + inputs + products + sums),
                            own_position};
    if (!compute(task)) {
      throw std::invalid_argument("activations and border must be in 0..127");
    }
  });
}

}  // namespace lic_fast::integer
