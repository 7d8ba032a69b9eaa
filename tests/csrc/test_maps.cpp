// What the transforms consist of, maps of rows, window attention and its gradients, convolutions by
// minimal filtering and by tiles and what stands between them: on every instruction set the scalar
// build's results, which tests/ops holds to the definitions, but for rounding, for windows, heads
// and channels that are no whole vectors. Every array is of just its size. Run under
// AddressSanitizer and UndefinedBehaviorSanitizer.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "attention/window_attention.hpp"
#include "channels/channels.hpp"
#include "check.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/copy.hpp"
#include "cpu/isa.hpp"
#include "linear/linear.hpp"
#include "tiles/convolution.hpp"
#include "winograd/winograd.hpp"

namespace {

namespace attention = lic_fast::attention;
namespace channels = lic_fast::channels;
namespace cpu = lic_fast::cpu;
namespace linear = lic_fast::linear;
namespace tiles = lic_fast::tiles;
namespace winograd = lic_fast::winograd;

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

template <class T>
std::vector<T> numbers(std::mt19937& random, std::size_t count) {
  std::uniform_real_distribution<float> values(-2.0f, 2.0f);
  std::vector<T> all(count);
  for (T& x : all) x = cpu::narrow<T>(values(random));
  return all;
}

/// Calls compute(isa, out) on every instruction set, and compares what it writes.
template <class T, class Compute>
void check_alike(std::size_t count, const Compute& compute) {
  const float tolerance = sizeof(T) == 2 ? 0.0625f : 1e-4f;
  std::vector<T> expected(count, cpu::narrow<T>(NAN));
  compute(cpu::Isa::kScalar, expected.data());
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<T> found(count, cpu::narrow<T>(NAN));
    compute(isa, found.data());
    for (std::size_t i = 0; i < count; ++i) {
      // Written so that a NaN is not alike.
      const float x = cpu::wide(found[i]), y = cpu::wide(expected[i]);
      CHECK(std::fabs(x - y) <= tolerance * (1 + std::fabs(y)));
    }
  }
}

template <class T>
void check_attention(std::mt19937& random) {
  const std::size_t window = 1 + below(random, 9), heads = 1 + below(random, 3);
  const std::size_t size = 1 + below(random, 40), width = heads * size;
  const std::size_t batch = 1 + below(random, 2);
  const std::size_t rows = 1 + below(random, 20), columns = 1 + below(random, 20);
  const std::size_t tokens = batch * rows * columns, shift = below(random, window);
  const auto qkv = numbers<T>(random, tokens * 3 * width);
  const auto pad = numbers<float>(random, 3 * width);
  const auto table = numbers<float>(random, (2 * window - 1) * (2 * window - 1) * heads);
  const bool padded = below(random, 2) == 1;
  check_alike<T>(tokens * width, [&](cpu::Isa isa, T* out) {
    const attention::Tables tables({heads, size, window, shift, 0.3f, -100.0f, sizeof(T) == 2,
                                    padded ? pad.data() : nullptr, table.data()},
                                   isa, attention::Pass::kForward);
    attention::window_attention(
        {tables,
         batch,
         rows,
         columns,
         {qkv.data(), rows * columns * 3 * width, columns * 3 * width, 3 * width},
         {out, rows * columns * width, columns * width, width},
         0,
         rows},
        2);
  });
}

/// Gradients of the map, and, in one array, those that are sums over it.
template <class T>
void check_attention_backward(std::mt19937& random) {
  const std::size_t window = 1 + below(random, 9), heads = 1 + below(random, 3);
  const std::size_t size = 1 + below(random, 40), width = heads * size;
  const std::size_t batch = 1 + below(random, 2);
  const std::size_t rows = 1 + below(random, 20), columns = 1 + below(random, 20);
  const std::size_t tokens = batch * rows * columns, shift = below(random, window);
  const std::size_t entries = (2 * window - 1) * (2 * window - 1) * heads;
  const auto grad = numbers<T>(random, tokens * width),
             qkv = numbers<T>(random, tokens * 3 * width);
  const auto pad = numbers<float>(random, 3 * width), table = numbers<float>(random, entries);
  const bool padded = below(random, 2) == 1;
  const auto compute = [&](cpu::Isa isa, T* of_qkv, float* of_table, float* of_pad) {
    const attention::Tables tables({heads, size, window, shift, 0.3f, -100.0f, sizeof(T) == 2,
                                    padded ? pad.data() : nullptr, table.data()},
                                   isa, attention::Pass::kBackward);
    attention::window_attention_backward(
        {tables,
         batch,
         rows,
         columns,
         {qkv.data(), rows * columns * 3 * width, columns * 3 * width, 3 * width},
         {},
         0,
         rows},
        {grad.data(), of_qkv, of_table, padded ? of_pad : nullptr}, 2);
  };
  check_alike<T>(tokens * 3 * width, [&](cpu::Isa isa, T* of_qkv) {
    std::vector<float> of_table(entries), of_pad(3 * width);
    compute(isa, of_qkv, of_table.data(), of_pad.data());
  });
  check_alike<float>(entries + (padded ? 3 * width : 0), [&](cpu::Isa isa, float* sums) {
    std::vector<T> of_qkv(tokens * 3 * width);
    std::vector<float> of_table(entries), of_pad(padded ? 3 * width : 0);
    compute(isa, of_qkv.data(), of_table.data(), of_pad.data());
    std::copy(of_table.begin(), of_table.end(), sums);
    std::copy(of_pad.begin(), of_pad.end(), sums + entries);
  });
}

template <class T>
void check_channels(std::mt19937& random) {
  const std::size_t rows = 1 + below(random, 50), width = 1 + below(random, 100);
  const std::size_t stride = width + below(random, 20), count = (rows - 1) * stride + width;
  const auto x = numbers<T>(random, count), z = numbers<T>(random, count);
  auto y = numbers<T>(random, count);
  for (T& positive : y) positive = cpu::narrow<T>(std::fabs(cpu::wide(positive)) + 0.5f);
  const auto weight = numbers<float>(random, width), bias = numbers<float>(random, width);
  using channels::Operation;
  for (const Operation operation : {Operation::kLayerNorm, Operation::kSquare, Operation::kDivide,
                                    Operation::kSum, Operation::kGate, Operation::kGelu}) {
    check_alike<T>(rows * width, [&](cpu::Isa isa, T* out) {
      channels::compute({operation,
                         sizeof(T) == 2,
                         rows,
                         width,
                         {x.data(), stride},
                         {y.data(), stride},
                         {z.data(), stride},
                         out,
                         width,
                         weight.data(),
                         bias.data(),
                         0.5f},
                        isa, 2);
    });
  }
}

/// A map in one order of its dimensions to another one.
template <class T>
void check_copy(std::mt19937& random) {
  const std::size_t a = below(random, 40), b = below(random, 50), c = below(random, 60);
  const std::vector<T> from = numbers<T>(random, a * b * c);
  std::vector<T> to(from.size());
  const std::size_t item = sizeof(T);
  cpu::copy({{a, b * c * item, item}, {b, c * item, a * item}, {c, item, a * b * item}},
            from.data(), to.data(), item, 1 + static_cast<unsigned>(below(random, 3)));
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::size_t x = i / (b * c), y = i / c % b, z = i % c;
    CHECK(to[(z * b + y) * a + x] == from[i]);
  }
}

template <class T>
void check_winograd(std::mt19937& random) {
  const std::size_t kernel = 3 + 2 * below(random, 2), batch = 1 + below(random, 2);
  const std::size_t rows = 1 + below(random, 12), columns = 1 + below(random, 12);
  const std::size_t phases = 1 + below(random, 2), shuffle = 1 + below(random, 2);
  const std::size_t each = winograd::kPanel * (1 + below(random, 2));
  const std::size_t inputs = each * phases * phases;
  const std::size_t of_pixel = shuffle > 1 ? winograd::kPanel : 1 + below(random, 40);
  const std::size_t outputs = of_pixel * shuffle * shuffle;
  const auto x = numbers<T>(random, batch * rows * columns * inputs);
  auto weights = numbers<float>(random, outputs * inputs * kernel * kernel);
  const float share = 1 / std::sqrt(static_cast<float>(inputs * kernel * kernel));
  for (float& weight : weights) weight *= share;
  const auto bias = numbers<float>(random, outputs);
  const std::size_t count = batch * rows * columns * outputs;
  const auto skip = numbers<T>(random, count);
  const winograd::Weights packed(weights.data(), outputs, inputs, kernel, below(random, 2) == 1,
                                 winograd::Products::kFloats, 2);
  const winograd::Weights words(weights.data(), outputs, inputs, kernel, true,
                                winograd::Products::kWords, 2);
  const bool skips = below(random, 2) == 1;
  const auto activation = static_cast<winograd::Activation>(below(random, 4));
  const std::size_t across = columns * shuffle, area = rows * shuffle * across;
  check_alike<T>(count, [&](cpu::Isa isa, T* out) {
    const winograd::Map<const void> residual{skips ? skip.data() : nullptr, area * of_pixel,
                                             across * of_pixel, of_pixel};
    const winograd::Map<const void> input{x.data(), rows * columns * inputs,
                                          phases * columns * each, each};
    const winograd::Map<void> output{out, area * of_pixel, across * of_pixel, of_pixel};
    const bool by_words = sizeof(T) == 2 && cpu::multiplies_words(isa);
    winograd::compute({by_words ? words : packed, bias.data(), sizeof(T) == 2, batch, rows, columns,
                       phases, shuffle, input, residual, output, activation, 0, rows},
                      isa, 2);
  });
}

/// Convolutions by tiles, which have no scalar build, beside sums in double.
void check_tiles(std::mt19937& random) {
  const std::size_t kernel = 1 + 2 * below(random, 3), stride = 1 + below(random, 2);
  const std::size_t batch = 1 + below(random, 2), shuffle = 1 + below(random, 2);
  const std::size_t height = 1 + below(random, 9), width = 1 + below(random, 40);
  const std::size_t inputs = 1 + below(random, 50), of_pixel = 1 + below(random, 20);
  const std::size_t outputs = of_pixel * shuffle * shuffle;
  const auto x = numbers<std::uint16_t>(random, batch * height * width * inputs);
  auto weights = numbers<float>(random, outputs * inputs * kernel * kernel);
  const float share = 1 / std::sqrt(static_cast<float>(inputs * kernel * kernel));
  for (float& weight : weights) weight = cpu::wide(cpu::narrow<std::uint16_t>(weight * share));
  const auto bias = numbers<float>(random, outputs);
  const tiles::Weights packed(weights.data(), bias.data(), outputs, inputs, kernel);
  tiles::Problem problem{packed,
                         batch,
                         height,
                         width,
                         stride,
                         shuffle,
                         {x.data(), height * width * inputs, width * inputs, inputs},
                         {},
                         {},
                         tiles::Activation::kRelu,
                         0,
                         0};
  problem.rows_end = problem.rows();
  const std::size_t rows = problem.rows(), columns = problem.columns();
  const std::size_t across = columns * shuffle * of_pixel, area = rows * shuffle * across;
  const auto skip = numbers<std::uint16_t>(random, batch * area);
  std::vector<std::uint16_t> out(batch * area, cpu::narrow<std::uint16_t>(NAN));
  problem.out = {out.data(), area, across, of_pixel};
  const bool skips = below(random, 2) == 1;
  if (skips) problem.residual = {skip.data(), area, across, of_pixel};
  tiles::compute(problem, 2);
  for (std::size_t i = 0; i < batch * rows * columns * outputs; ++i) {
    const std::size_t o = i % outputs, column = i / outputs % columns;
    const std::size_t row = i / outputs / columns % rows, image = i / outputs / columns / rows;
    const std::size_t phase = o / of_pixel;
    const std::size_t at = image * area + (row * shuffle + phase / shuffle) * across +
                           (column * shuffle + phase % shuffle) * of_pixel + o % of_pixel;
    const double residual = skips ? cpu::wide(skip[at]) : 0;
    double sum = bias[o] + residual;
    for (std::size_t tap = 0; tap < kernel * kernel; ++tap) {
      // Beyond the edges of what is unsigned, too.
      const std::size_t y = row * stride + tap / kernel - kernel / 2;
      const std::size_t z = column * stride + tap % kernel - kernel / 2;
      if (y >= height || z >= width) continue;
      for (std::size_t c = 0; c < inputs; ++c) {
        sum += double{cpu::wide(x[((image * height + y) * width + z) * inputs + c])} *
               weights[(o * inputs + c) * kernel * kernel + tap];
      }
    }
    const double expected = std::max(sum, 0.0);
    CHECK(std::fabs(cpu::wide(out[at]) - expected) <=
          0.005 * (1 + std::fabs(sum) + std::fabs(residual)));
  }
}

template <class T>
void check_linear(std::mt19937& random) {
  const std::size_t rows = 1 + below(random, 120), inputs = 1 + below(random, 70);
  const std::size_t hidden = 1 + below(random, 70), outputs = 1 + below(random, 70);
  const auto x = numbers<T>(random, rows * inputs), skip = numbers<T>(random, rows * outputs);
  const auto scaled = [&](std::size_t to, std::size_t from) {
    auto weights = numbers<float>(random, to * from);
    for (float& weight : weights) weight /= std::sqrt(static_cast<float>(from));
    return weights;
  };
  const auto weights = scaled(hidden, inputs), narrow = scaled(outputs, hidden);
  const auto bias = numbers<float>(random, hidden), bias2 = numbers<float>(random, outputs);
  const auto factors = numbers<float>(random, inputs), offsets = numbers<float>(random, inputs);
  const auto activation = static_cast<linear::Activation>(below(random, 4));
  const bool norm = below(random, 2) == 1, skips = below(random, 2) == 1;
  const bool two = below(random, 2) == 1;
  const linear::Before before = norm ? linear::Before::kNorm : linear::Before::kNothing;
  const auto run = [&](linear::Products products, cpu::Isa isa, T* out) {
    const linear::Weights second(narrow.data(), bias2.data(), outputs, hidden, products);
    const linear::Weights first(two ? weights.data() : narrow.data(),
                                two ? bias.data() : bias2.data(), two ? hidden : outputs,
                                two ? inputs : hidden, products);
    // Of a single map, from `hidden` channels: those of x as far as they go.
    const std::size_t width = two ? inputs : hidden;
    const std::size_t count = two ? rows : rows * inputs / hidden;
    linear::compute({first,
                     two ? &second : nullptr,
                     sizeof(T) == 2,
                     two ? rows : std::min(rows, count),
                     {x.data(), width},
                     {skips ? skip.data() : nullptr, outputs},
                     {out, outputs},
                     two ? before : linear::Before::kNothing,
                     linear::After::kActivation,
                     activation,
                     factors.data(),
                     offsets.data(),
                     0.5f},
                    isa, 2);
  };
  const std::size_t written = two ? rows : std::min(rows, rows * inputs / hidden);
  check_alike<T>(written * outputs, [&](cpu::Isa isa, T* out) {
    run(linear::Products::kFloats, isa, out);
    if (sizeof(T) == 2 && isa == cpu::Isa::kAvx512Vnni && linear::has_pairs()) {
      run(linear::Products::kPairs, isa, out);
    }
    if (sizeof(T) == 2 && cpu::multiplies_words(isa)) run(linear::Products::kWords, isa, out);
    if (sizeof(T) == 2 && isa == cpu::Isa::kAmx) run(linear::Products::kTiles, isa, out);
  });
  // Divisive normalisation, over its own input.
  auto gamma = scaled(inputs, inputs);
  auto beta = numbers<float>(random, inputs);
  for (float& positive : gamma) positive = std::fabs(positive);
  for (float& positive : beta) positive = std::fabs(positive) + 0.5f;
  const auto square = [&](linear::Products products) {
    return linear::Weights(gamma.data(), beta.data(), inputs, inputs, products);
  };
  for (const linear::After after : {linear::After::kTimesRoot, linear::After::kOverRoot}) {
    check_alike<T>(rows * inputs, [&](cpu::Isa isa, T* out) {
      std::copy(x.begin(), x.end(), out);
      const bool tiles = sizeof(T) == 2 && isa == cpu::Isa::kAmx;
      const linear::Weights mix =
          square(tiles ? linear::Products::kTiles : linear::Products::kFloats);
      linear::compute({mix,
                       nullptr,
                       sizeof(T) == 2,
                       rows,
                       {out, inputs},
                       {out, inputs},
                       {out, inputs},
                       linear::Before::kSquare,
                       after,
                       linear::Activation::kNone,
                       nullptr,
                       nullptr,
                       0},
                      isa, 2);
    });
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    check_attention<float>(random);
    check_attention<std::uint16_t>(random);
    check_attention_backward<float>(random);
    check_attention_backward<std::uint16_t>(random);
    check_channels<float>(random);
    check_channels<std::uint16_t>(random);
    check_copy<float>(random);
    check_copy<std::uint16_t>(random);
    check_linear<float>(random);
    check_linear<std::uint16_t>(random);
    check_winograd<float>(random);
    check_winograd<std::uint16_t>(random);
    if (cpu::supported(cpu::Isa::kAmx)) check_tiles(random);
  }
  return 0;
}
