#include "integer/winograd.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "cpu/thread_pool.hpp"
#include "integer/kernels.hpp"
#include "integer/scratch.hpp"

namespace lic_fast::integer {
namespace {

constexpr std::size_t kTaps = 9;
/// Weights of a quad of input channels and a block of output channels, at one tap.
constexpr std::size_t kSquare = kBlock * kQuad;
/// The largest sum of magnitudes that keeps a run's T below 2^29 for activations within kCentre.
constexpr std::uint32_t kLargest = (1u << 29) / kCentre - 1;
/// Elements of a cache line.
constexpr std::size_t kLine16 = 64 / sizeof(std::int16_t), kLine32 = 64 / sizeof(std::int32_t);

/// (2G) from the left, of the three rows of a 3 x n matrix that begin at `x`.
template <std::size_t n>
void transform(const std::int16_t* x, std::int16_t* to) {
  for (std::size_t i = 0; i < n; ++i) {
    const int a = x[i], b = x[n + i], c = x[2 * n + i];
    to[i] = static_cast<std::int16_t>(2 * a);
    to[n + i] = static_cast<std::int16_t>(a + b + c);
    to[2 * n + i] = static_cast<std::int16_t>(a - b + c);
    to[3 * n + i] = static_cast<std::int16_t>(2 * c);
  }
}

/// How a problem's tiles and units of output channels are divided into tasks.
struct Division {
  std::size_t tiles, tile_tasks, units, unit_tasks;

  Division(const Problem& p, unsigned threads) : tiles(tiles_of(p)) {
    const Weights& w = p.weights;
    // Transformed tiles of a task stay in a core's second cache, beside the weights that stream
    // through it, and each weight is used for many of them. A multiple of what any instruction set
    // multiplies together.
    constexpr std::size_t kTogether = 12, kMost = 4, kBytes = 640 << 10;
    const std::size_t fit = kBytes / (kPositions * sizeof(std::int16_t) * w.group_in);
    const std::size_t share = threads < 2 ? tiles : tiles / (2 * threads);
    const std::size_t of_task =
        std::clamp<std::size_t>(std::min(fit, share) / kTogether, 1, kMost) * kTogether;
    tile_tasks = std::max<std::size_t>((tiles + of_task / 2) / of_task, 1);
    // Tiles that are too few for the threads are transformed by several of them.
    units = w.groups * ((w.blocks + kUnit - 1) / kUnit);
    unit_tasks = std::clamp<std::size_t>(threads / tile_tasks, 1, units);
  }

  static std::size_t tiles_of(const Problem& p) {
    return p.batch * ((p.height + 1) / kTileSide) * ((p.width + 1) / kTileSide);
  }
  std::size_t first_tile(std::size_t task) const { return tiles * task / tile_tasks; }
  std::size_t most_tiles() const { return (tiles + tile_tasks - 1) / tile_tasks; }
  std::size_t first_unit(std::size_t task) const { return units * task / unit_tasks; }
};

/// Never destroyed, as the pool's threads are not.
ScratchPool& task_memory() {
  static ScratchPool& pool = *new ScratchPool;
  return pool;
}

}  // namespace

WinogradWeights::WinogradWeights(const Weights& w, unsigned threads)
    : blocks_(w.blocks), pairs_(w.quads * kQuad / kPair), offsets_(w.groups * w.blocks * kBlock) {
  cpu::ThreadPool& pool = cpu::ThreadPool::instance();
  const std::size_t count = w.groups * w.blocks;
  std::vector<std::uint16_t> magnitudes(count * w.quads * kBlock);
  pool.run(count, threads, [&](std::size_t i) {
    measure(w.block(i / blocks_, i % blocks_), i, magnitudes.data() + i * w.quads * kBlock);
  });
  for (std::size_t group = 0; group < w.groups; ++group) {
    runs_.push_back(runs_of(magnitudes.data() + group * blocks_ * w.quads * kBlock));
  }
  // Written once and by all threads: it may be most of a model's memory.
  packed_.resize(count * block_size());
  pool.run(count, threads, [&](std::size_t i) {
    pack(w.block(i / blocks_, i % blocks_), runs_[i / blocks_], packed_.data() + i * block_size());
  });
}

void WinogradWeights::measure(const std::int8_t* weights, std::size_t index,
                              std::uint16_t* magnitudes) {
  const std::size_t quads = pairs_ * kPair / kQuad;
  std::uint32_t sums[kBlock] = {};
  for (std::size_t tap = 0; tap < kTaps; ++tap) {
    for (std::size_t i = 0; i < quads * kBlock; ++i, weights += kQuad) {
      std::uint16_t magnitude = 0;
      for (std::size_t k = 0; k < kQuad; ++k) {
        const int weight = weights[k];
        magnitude = static_cast<std::uint16_t>(magnitude + (weight < 0 ? -weight : weight));
        sums[i % kBlock] += static_cast<std::uint32_t>(weight);
      }
      magnitudes[i] = static_cast<std::uint16_t>(magnitudes[i] + magnitude);
    }
  }
  for (std::size_t lane = 0; lane < kBlock; ++lane) {
    offsets_[index * kBlock + lane] =
        static_cast<std::int32_t>(sums[lane] * static_cast<std::uint32_t>(kCentre));
  }
}

/// As few as there can be: each takes all that it can.
std::vector<WinogradWeights::Run> WinogradWeights::runs_of(const std::uint16_t* magnitudes) const {
  const std::size_t quads = pairs_ * kPair / kQuad;
  std::vector<Run> runs;
  std::vector<std::uint32_t> sums(blocks_ * kBlock, kLargest);
  for (std::size_t quad = 0; quad < quads; ++quad) {
    const auto magnitude = [&](std::size_t m) {
      return magnitudes[(m / kBlock * quads + quad) * kBlock + m % kBlock];
    };
    std::uint32_t largest = 0;
    for (std::size_t m = 0; m < sums.size(); ++m) {
      sums[m] += magnitude(m);
      largest = std::max(largest, sums[m]);
    }
    if (quad == 0 || largest > kLargest) {
      runs.push_back({quad * kQuad / kPair, 0});
      for (std::size_t m = 0; m < sums.size(); ++m) sums[m] = magnitude(m);
    }
    runs.back().count += kQuad / kPair;
  }
  return runs;
}

void WinogradWeights::pack(const std::int8_t* weights, const std::vector<Run>& runs,
                           std::int16_t* to) const {
  const std::size_t quads = pairs_ * kPair / kQuad;
  for (const Run& run : runs) {
    for (std::size_t pair = 0; pair < run.count; pair += kQuad / kPair) {
      const std::size_t quad = (run.first + pair) * kPair / kQuad;
      std::int16_t taps[kTaps * kSquare], rows[4 * 3 * kSquare], all[kPositions * kSquare];
      for (std::size_t tap = 0; tap < kTaps; ++tap) {
        const std::int8_t* const from = weights + (tap * quads + quad) * kSquare;
        for (std::size_t i = 0; i < kSquare; ++i) taps[tap * kSquare + i] = from[i];
      }
      transform<3 * kSquare>(taps, rows);
      for (std::size_t y = 0; y < 4; ++y) {
        transform<kSquare>(rows + y * 3 * kSquare, all + y * 4 * kSquare);
      }
      for (std::size_t position = 0; position < kPositions; ++position) {
        std::int16_t* const place = to + (position * run.count + pair) * kBlock * kPair;
        const std::int16_t* const from = all + position * kSquare;
        // A quad of each output channel to two pairs.
        for (std::size_t i = 0; i < kSquare / kPair; ++i) {
          constexpr std::size_t kPairs = kQuad / kPair;
          std::memcpy(place + (i % kPairs * kBlock + i / kPairs) * kPair, from + i * kPair,
                      kPair * sizeof(std::int16_t));
        }
      }
    }
    to += kPositions * run.count * kBlock * kPair;
  }
}

bool by_winograd(const Problem& p, cpu::Isa isa) {
  const Weights& w = p.weights;
  if (w.kernel != 3 || p.stride != 1 || p.halves < kernels(isa).winograd_halves) return false;
  // Measured: transforming fewer channels costs more than it saves. The transformed weights of
  // fewer tiles take longer to read than the others' products to compute, where they come from
  // memory.
  constexpr std::size_t kLeastChannels = 32, kLeastTiles = 12;
  return w.group_in >= kLeastChannels && Division::tiles_of(p) >= kLeastTiles;
}

void convolve_by_winograd(const Problem& p, cpu::Isa isa, unsigned threads) {
  const Kernels& compute = kernels(isa);
  const Weights& w = p.weights;
  const WinogradWeights& weights = w.winograd(threads);
  const Division d(p, threads);
  // Lines that are an odd number apart do not meet in the same places of a cache.
  const std::size_t lines = ((w.quads * kQuad + kLine16 - 1) / kLine16) | 1;
  const std::size_t room = d.most_tiles();
  const std::size_t input_tile = lines * kLine16, input_position = room * input_tile + kLine16;
  const std::size_t product_position = room * kUnit * kBlock + kLine32;
  const std::size_t inputs = kPositions * input_position * sizeof(std::int16_t);
  const std::size_t products = kPositions * product_position * sizeof(std::int32_t);
  const std::size_t sums = kTileSide * kTileSide * room * kUnit * kBlock * sizeof(std::int32_t);
  cpu::ThreadPool::instance().run(d.tile_tasks * d.unit_tasks, threads, [&](std::size_t i) {
    ScratchPool::Scratch scratch(task_memory(), inputs + products + sums);
    std::uint8_t* const memory = scratch.data();
    const std::size_t tile_task = i / d.unit_tasks, unit_task = i % d.unit_tasks;
    const std::size_t tile = d.first_tile(tile_task), unit = d.first_unit(unit_task);
    const WinogradTask task{p,
                            weights,
                            tile,
                            d.first_tile(tile_task + 1) - tile,
                            unit,
                            d.first_unit(unit_task + 1) - unit,
                            reinterpret_cast<std::int16_t*>(memory),
                            input_position,
                            input_tile,
                            reinterpret_cast<std::int32_t*>(memory + inputs),
                            product_position,
                            reinterpret_cast<std::int32_t*>(memory + inputs + products)};
    if (!compute.winograd(task)) {
      throw std::invalid_argument("activations and border must be in 0..127");
    }
  });
}

}  // namespace lic_fast::integer
