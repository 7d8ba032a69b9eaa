#include "winograd/winograd.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <stdexcept>

#include "cpu/lines.hpp"
#include "cpu/thread_pool.hpp"
#include "cpu/words.hpp"

namespace lic_fast::winograd {
namespace {

// Tiles of a task: as many as share a weight that comes from memory, and no more than keep a
// place's inputs in the second cache.
constexpr std::size_t kTiles = 48, kMostTiles = 96;
// Floats of the inputs up to which a task has more than kTiles: a megabyte.
constexpr std::size_t kInputs = std::size_t{1} << 18;
// Tiles for which weights are transformed once.
constexpr std::size_t kSharing = 192;
// Tiles whose input one task transforms.
constexpr std::size_t kRead = 8;
// The largest word of a weight: 12 bits, which leave as many to inputs of some hundred channels.
constexpr float kLargestWeight = 4095;

const Kernels& kernels(cpu::Isa isa) {
  switch (isa) {
#ifdef LIC_FAST_X86
    case cpu::Isa::kAmx:
    case cpu::Isa::kAvx512Vnni:
    case cpu::Isa::kAvx512:
      return kAvx512Kernels;
    case cpu::Isa::kAvx2:
      return kAvx2Kernels;
#endif
    default:
      return kScalarKernels;
  }
}

/// function(panels) of as many at once as the kernels take.
template <class Function>
void for_panels(const Panels& all, const Kernels& work, const Function& function) {
  for (std::size_t i = 0; i < all.count; i += work.together) {
    function(Panels{all.first + i, std::min(work.together, all.count - i)});
  }
}

#ifdef LIC_FAST_X86
/// The same as compute_tiles by words.
void compute_words(const Problem& problem, const Block& run, const Kernels& work, cpu::Isa isa) {
  static thread_local cpu::Lines<std::int16_t> words;
  static thread_local cpu::Lines<float> memory;
  const WordKernels& words_work =
      isa == cpu::Isa::kAvx2 ? kAvx2WordKernels : kAvx512VnniWordKernels;
  const Weights& w = problem.weights;
  const std::size_t scales = (kPlaces * run.count + kPanel - 1) / kPanel * kPanel;
  const std::size_t one = kPlaces * place_size(1, w.in_channels);
  const std::size_t products = kPlaces * place_size(run.count, work.together * kPanel);
  float* const own = cpu::scratch(memory, scales + one + products);
  const std::size_t inputs = kPlaces * word_place_size(run.count, w.in_channels);
  const WordBlock block{run.first, run.count, cpu::scratch(words, inputs), own};
  float* const numbers = own + scales;
  for (std::size_t t = 0; t < run.count; ++t) {
    work.read(problem, {run.first + t, 1, numbers}, 0, 1);
    words_work.read(w, block, t, numbers);
  }
  for_panels({0, w.panels()}, work, [&](const Panels& panels) {
    words_work.multiply(w, block, panels, numbers + one);
    work.finish(problem, run, panels, numbers + one);
  });
}
#endif

/// Each thread computes whole outputs of its tiles.
void compute_tiles(const Problem& problem, std::size_t tiles, cpu::Isa isa, unsigned threads) {
  const Kernels& work = kernels(isa);
  const Weights& w = problem.weights;
  const std::size_t fitting = kInputs / (kPlaces * w.in_channels);
  const std::size_t most = std::clamp(fitting, kTiles, kMostTiles);
  // As many tasks as there are threads, or a multiple that leaves none of them long without work.
  const std::size_t share = std::max(threads, 1u);
  const std::size_t least = (tiles + most - 1) / most;
  const std::size_t tasks = std::min(tiles, (least + share - 1) / share * share);
  const std::size_t count = (tiles + tasks - 1) / tasks;
  cpu::ThreadPool::instance().run((tiles + count - 1) / count, threads, [&](std::size_t task) {
    const std::size_t first = task * count, here = std::min(count, tiles - first);
#ifdef LIC_FAST_X86
    if (w.products == Products::kWords) {
      compute_words(problem, {first, here, nullptr}, work, isa);
      return;
    }
#endif
    static thread_local cpu::Lines<float> memory;
    const std::size_t inputs = kPlaces * place_size(count, w.in_channels);
    float* const own =
        cpu::scratch(memory, inputs + kPlaces * place_size(count, work.together * kPanel));
    const Block block{first, here, own};
    work.read(problem, block, 0, block.count);
    for_panels({0, w.panels()}, work, [&](const Panels& panels) {
      work.multiply(problem, block, panels, w.panel(panels.first), own + inputs);
      work.finish(problem, block, panels, own + inputs);
    });
  });
}

/// Each thread computes some panels of the output of all tiles, so that it transforms no weights
/// that another one does.
void compute_panels(const Problem& problem, std::size_t tiles, const Kernels& work,
                    unsigned threads) {
  static thread_local cpu::Lines<float> shared;
  const Weights& w = problem.weights;
  cpu::ThreadPool& pool = cpu::ThreadPool::instance();
  const std::size_t share = std::max(threads, 1u);
  const std::size_t least = (w.panels() + kMostPanels - 1) / kMostPanels;
  const std::size_t groups = std::min(w.panels(), (least + share - 1) / share * share);
  for (std::size_t first = 0; first < tiles; first += kSharing) {
    const std::size_t count = std::min(kSharing, tiles - first);
    const Block block{first, count,
                      cpu::scratch(shared, kPlaces * place_size(count, w.in_channels))};
    pool.run((count + kRead - 1) / kRead, threads, [&](std::size_t task) {
      work.read(problem, block, task * kRead, std::min(count, (task + 1) * kRead));
    });
    pool.run(groups, threads, [&](std::size_t group) {
      static thread_local cpu::Lines<float> memory;
      const std::size_t begin = group * w.panels() / groups;
      const Panels panels{begin, (group + 1) * w.panels() / groups - begin};
      const std::size_t weights = kMostPanels * w.panel_size();
      float* const own =
          cpu::scratch(memory, weights + kPlaces * place_size(count, work.together * kPanel));
      work.filter(w, panels, own);
      for_panels(panels, work, [&](const Panels& some) {
        const float* const filtered = own + (some.first - begin) * w.panel_size();
        work.multiply(problem, block, some, filtered, own + weights);
        work.finish(problem, block, some, own + weights);
      });
    });
  }
}

}  // namespace

double filter(std::size_t place, std::size_t tap, std::size_t kernel) {
  constexpr double kA2 = double{kA} * kA, kB2 = double{kB} * kB;
  constexpr double kOfA = 1 / (2 * kA2 * (kA2 - kB2)), kOfB = 1 / (2 * kB2 * (kB2 - kA2));
  constexpr double kPoints[] = {0, kA, -kA, kB, -kB};
  constexpr double kFactors[] = {1 / (kA2 * kB2), kOfA, kOfA, kOfB, kOfB};
  if (place == kSide - 1) return tap + 1 == kernel ? 1 : 0;
  double power = kFactors[place];
  for (std::size_t i = 0; i < tap; ++i) power *= kPoints[place];
  return power;
}

Weights::Weights(const float* weights, std::size_t out, std::size_t in, std::size_t kernel_,
                 bool transformed_, Products products_, unsigned threads)
    : out_channels(out),
      in_channels(in),
      kernel(kernel_),
      transformed(transformed_),
      products(products_) {
  if (products == Products::kWords && !transformed) {
    throw std::invalid_argument("words are of transformed weights");
  }
  const std::size_t area = kernel * kernel;
  const std::size_t size = transformed ? panel_size() : in_channels * area * kPanel;
  packed_.assign(panels() * size, 0.0f);
  double factors[kSide][kSide];
  for (std::size_t place = 0; place < kSide; ++place) {
    for (std::size_t tap = 0; tap < kernel; ++tap) factors[place][tap] = filter(place, tap, kernel);
  }
  cpu::ThreadPool::instance().run(out, threads, [&](std::size_t o) {
    float* const panel = packed_.data() + o / kPanel * size + o % kPanel;
    for (std::size_t i = 0; i < in_channels; ++i) {
      const float* const taps = weights + (o * in_channels + i) * area;
      if (!transformed) {
        for (std::size_t tap = 0; tap < area; ++tap) panel[(i * area + tap) * kPanel] = taps[tap];
        continue;
      }
      double rows[kSide][kSide] = {};  // places by taps
      for (std::size_t place = 0; place < kSide; ++place) {
        for (std::size_t row = 0; row < kernel; ++row) {
          for (std::size_t column = 0; column < kernel; ++column) {
            rows[place][column] += factors[place][row] * taps[row * kernel + column];
          }
        }
      }
      for (std::size_t place = 0; place < kPlaces; ++place) {
        double sum = 0;
        for (std::size_t column = 0; column < kernel; ++column) {
          sum += rows[place / kSide][column] * factors[place % kSide][column];
        }
        panel[place * place_size() + i * kPanel] = static_cast<float>(sum);
      }
    }
  });
  if (products == Products::kWords) make_words(threads);
}

void Weights::make_words(unsigned threads) {
  words_.assign(panels() * panel_size(), 0);
  scales_.assign(panels() * kPlaces * kPanel, 0.0f);
  cpu::ThreadPool::instance().run(kPlaces, threads, [&](std::size_t place) {
    std::int64_t most = 0;  // the largest sum of an output's words' magnitudes
    for (std::size_t o = 0; o < out_channels; ++o) {
      const std::size_t first = o / kPanel * panel_size() + place * place_size();
      const auto weight = [&](std::size_t i) { return packed_[first + i * kPanel + o % kPanel]; };
      const auto word = [&](std::size_t i) -> std::int16_t& {
        return words_[first + (i / 2 * kPanel + o % kPanel) * 2 + i % 2];
      };
      scales_[(o / kPanel * kPlaces + place) * kPanel + o % kPanel] =
          cpu::weight_words(in_channels, kLargestWeight, weight, word, most);
    }
    limits_[place] = cpu::input_limit(most);
  });
  packed_ = {};
}

void compute(const Problem& problem, cpu::Isa isa, unsigned threads) {
  const Weights& w = problem.weights;
  const std::size_t step = w.step();
  const bool ends = problem.rows_end % step == 0 || problem.rows_end == problem.height;
  if (problem.rows_begin % step != 0 || !ends || problem.rows_begin > problem.rows_end ||
      problem.rows_end > problem.height) {
    throw std::invalid_argument("rows must be whole tiles of the output, or end where it does");
  }
  const std::size_t tiles = problem.batch * problem.tiles_down() * problem.tiles_across();
  if (tiles == 0) return;
  if (w.products == Products::kWords && !cpu::multiplies_words(isa)) {
    throw std::invalid_argument("words are multiplied by avx2 and by avx512vnni");
  }
  if (w.transformed) {
    compute_tiles(problem, tiles, isa, threads);
  } else {
    compute_panels(problem, tiles, kernels(isa), threads);
  }
}

}  // namespace lic_fast::winograd
