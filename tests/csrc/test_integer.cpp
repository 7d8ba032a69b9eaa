// The integer convolution against its definition, on every instruction set, for shapes that leave
// something over at every edge; layers, networks and element-wise steps against the scalar build,
// which tests/ops holds to the definition. Every array is of just its size. Run under
// AddressSanitizer and UndefinedBehaviorSanitizer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "cpu/isa.hpp"
#include "integer/conv.hpp"
#include "integer/elements.hpp"
#include "integer/layer.hpp"
#include "integer/winograd.hpp"

namespace {

namespace integer = lic_fast::integer;
namespace cpu = lic_fast::cpu;

struct Case {
  std::size_t batch, height, width, group_in, group_out, groups, kernel, stride, halves;
};

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

template <class T>
std::vector<T> numbers(std::mt19937& random, std::size_t count, std::size_t limit, int offset = 0) {
  std::vector<T> all(count);
  for (T& x : all) x = static_cast<T>(static_cast<int>(below(random, limit)) - offset);
  return all;
}

std::int64_t expected(const Case& c, const std::vector<std::uint8_t> (&x)[2],
                      const std::vector<std::uint8_t> (&border)[2],
                      const std::vector<std::int8_t>& weights, std::size_t image, std::size_t row,
                      std::size_t column, std::size_t m) {
  const std::size_t in = c.group_in * c.groups, side = c.kernel / 2, group = m / c.group_out;
  std::int64_t sum = 0;
  for (std::size_t tap = 0; tap < c.kernel * c.kernel; ++tap) {
    const std::size_t y = row * c.stride + tap / c.kernel, z = column * c.stride + tap % c.kernel;
    const bool inside = y >= side && y - side < c.height && z >= side && z - side < c.width;
    for (std::size_t n = 0; n < c.group_in; ++n) {
      std::int64_t value = 0;
      for (std::size_t half = 0; half < c.halves; ++half) {
        const std::size_t pixel = (image * c.height + y - side) * c.width + z - side;
        const std::size_t channel = group * c.group_in + n;
        value = 128 * value + (inside ? x[half][pixel * in + channel] : border[half][channel]);
      }
      sum += value * weights[(m * c.group_in + n) * c.kernel * c.kernel + tap];
    }
  }
  return sum;
}

/// Weights are of their largest magnitude if `extreme`. So many of ten activations' segments use 9
/// of 14 bits.
void check(const Case& c, std::mt19937& random, bool extreme = false, std::size_t narrow = 0) {
  const std::size_t in = c.group_in * c.groups, out = c.group_out * c.groups;
  std::vector<std::int8_t> weights(out * c.group_in * c.kernel * c.kernel);
  for (auto& w : weights) {
    w = static_cast<std::int8_t>(static_cast<int>(below(random, 256)) - 128);
    if (extreme) w = w < 0 ? std::int8_t{-128} : std::int8_t{127};
  }
  std::vector<std::uint8_t> x[2];
  std::vector<std::uint8_t> border[2];
  const integer::Weights packed(weights.data(), out, in, c.groups, c.kernel);
  std::vector<std::uint8_t> masks(in);
  for (std::size_t n = 0; n < in; ++n) {
    const bool begins = n % c.group_in % integer::kSegment == 0;
    masks[n] = !begins ? masks[n - 1] : below(random, 10) < narrow ? 3 : 127;
  }
  integer::Problem problem{packed, c.batch, c.height, c.width, c.stride, c.halves, {}, {}};
  for (std::size_t half = 0; half < c.halves; ++half) {
    x[half].resize(c.batch * c.height * c.width * in);
    for (auto& value : x[half]) value = static_cast<std::uint8_t>(below(random, 128));
    problem.x[half] =
        integer::dense_view<const std::uint8_t>(x[half].data(), c.height, c.width, in);
    border[half].resize(in);
    for (auto& value : border[half]) value = static_cast<std::uint8_t>(below(random, 128));
    if (half == 0 && c.halves == 2) {
      for (std::size_t i = 0; i < x[0].size(); ++i) x[0][i] &= masks[i % in];
      for (std::size_t n = 0; n < in; ++n) border[0][n] &= masks[n];
    }
    problem.border[half] = border[half].data();
  }
  std::vector<int> sides;
  for (const cpu::Isa isa : cpu::supported()) {
    const integer::Form form = integer::choose(problem, isa, 2).form;
    const int side = static_cast<int>(integer::outputs_of(form));
    if (form != integer::Form::kDirect && sides.empty()) sides.push_back(side);
    std::vector<std::int32_t> sums(c.batch * problem.out_height() * problem.out_width() * out, -1);
    problem.sums = integer::dense_view(sums.data(), problem.out_height(), problem.out_width(), out);
    integer::convolve(problem, isa, 2);
    std::size_t i = 0;
    for (std::size_t image = 0; image < c.batch; ++image) {
      for (std::size_t row = 0; row < problem.out_height(); ++row) {
        for (std::size_t column = 0; column < problem.out_width(); ++column) {
          for (std::size_t m = 0; m < out; ++m, ++i) {
            if (sums[i] == expected(c, x, border, weights, image, row, column, m)) continue;
            std::fprintf(stderr, "%s: %zu x %zu, channel %zu differs\n", cpu::name(isa), c.height,
                         c.width, m);
            std::exit(1);
          }
        }
      }
    }
    CHECK(packed.tile_sides() == sides);
  }
}

/// Winograd's algorithm, on weights that need one run of channels and several, and its refusal.
void check_winograd(std::mt19937& random) {
  const std::size_t group_in = 32 + below(random, 100), group_out = 1 + below(random, 40);
  const std::size_t groups = 1 + below(random, 2), height = 5 + below(random, 4);
  const Case c{1, height, 7 + below(random, 8), group_in, group_out, groups, 3, 1, 2};
  check(c, random, below(random, 2) == 0);
  const Case larger{1, 9 + below(random, 5), 13 + below(random, 4), group_in, group_out, groups, 3,
                    1, 1 + below(random, 2)};
  check(larger, random, below(random, 2) == 0, 5 * below(random, 3));
  const std::size_t in = groups * group_in, size = height * c.width * in;
  const auto weights = numbers<std::int8_t>(random, in * group_out * 9, 256, 128);
  const integer::Weights packed(weights.data(), groups * group_out, in, groups, 3);
  std::vector<std::uint8_t> x(size, 127), wrong(size, 127);
  wrong[below(random, size)] = 128;
  integer::Problem problem{packed, 1, height, c.width, 1, 2, {}, {}};
  for (int half = 0; half < 2; ++half) problem.border[half] = x.data();
  std::vector<std::int32_t> sums(height * c.width * groups * group_out);
  problem.sums = integer::dense_view(sums.data(), height, c.width, groups * group_out);
  for (const cpu::Isa isa : cpu::supported()) {
    const bool by_winograd = integer::choose(problem, isa, 2).form != integer::Form::kDirect;
    CHECK(by_winograd == (isa != cpu::Isa::kAmx));
    for (std::size_t wrong_half = 0; wrong_half < 3; ++wrong_half) {
      for (std::size_t half = 0; half < 2; ++half) {
        problem.x[half] = integer::dense_view<const std::uint8_t>(
            half == wrong_half ? wrong.data() : x.data(), height, c.width, in);
      }
      bool refused = false;
      try {
        integer::convolve(problem, isa, 2);
      } catch (const std::invalid_argument&) {
        refused = true;
      }
      CHECK(refused == (wrong_half < 2));
    }
  }
}

/// Zeros, numbers of a common size and the largest that there are, of both signs.
std::vector<float> floats(std::mt19937& random, std::size_t count) {
  std::vector<float> all = numbers<float>(random, count, 4001, 2000);
  for (float& x : all) {
    const float factors[] = {-0.0f, 0.01f, 0.5f, 1e30f, std::numeric_limits<float>::max() / 4000};
    x *= factors[below(random, 5)];
  }
  return all;
}

std::shared_ptr<const integer::Layer> random_layer(std::mt19937& random, std::size_t in,
                                                   std::size_t out, std::size_t groups,
                                                   std::size_t halves, int bits) {
  const std::size_t kernel = 1 + 2 * below(random, 3);
  const auto weight = numbers<std::int8_t>(random, in / groups * out * kernel * kernel, 256, 128);
  const auto bias = numbers<std::int32_t>(random, out, 2000001, 1000000);
  const auto scale = floats(random, out), inverse_step = floats(random, out);
  const auto zero = numbers<std::int32_t>(random, out, bits == 0 ? 1 : std::size_t{1} << bits);
  integer::Parameters parameters{
      weight.data(), out,          in, groups, kernel, 1,
      bias.data(),   scale.data(), {}, {},     bits,   inverse_step.data(),
      zero.data()};
  parameters.stride = 1 + below(random, kernel < 2 ? kernel : 2);
  parameters.activation = static_cast<integer::Activation>(below(random, 4));
  const auto border = numbers<std::uint8_t>(random, in, 128);
  for (std::size_t half = 0; half < halves; ++half) parameters.border.push_back(border.data());
  return std::make_shared<integer::Layer>(parameters);
}

/// A network's output, as bytes, with a residual or without, and that of a single layer.
void check_network(std::mt19937& random) {
  const std::size_t groups = 1 + below(random, 2), depth = 1 + below(random, 3);
  std::vector<std::size_t> widths;
  // Every third network's layers have the channels for Winograd's algorithm.
  const std::size_t least = below(random, 3) == 0 ? 32 : 1;
  for (std::size_t i = 0; i <= depth; ++i) widths.push_back(groups * (least + below(random, 36)));
  std::vector<std::shared_ptr<const integer::Layer>> layers;
  std::size_t halves = 1 + below(random, 2);
  const std::size_t first_halves = halves;
  for (std::size_t i = 0; i < depth; ++i) {
    const int bits = i + 1 < depth || below(random, 2) == 0 ? 7 << below(random, 2) : 0;
    layers.push_back(random_layer(random, widths[i], widths[i + 1], groups, halves, bits));
    halves = bits == 14 ? 1 + below(random, 2) : 1;
  }
  const integer::Network network(layers);
  const std::size_t batch = 1 + below(random, 2), height = 1 + below(random, 9);
  const std::size_t width = 1 + below(random, 28), gap = below(random, 3);
  integer::Input input{{}, batch, height, width};
  std::vector<std::uint8_t> x[2];
  for (std::size_t half = 0; half < first_halves; ++half) {
    // The last pixel has no gap behind it.
    x[half] = numbers<std::uint8_t>(random, batch * height * width * (widths[0] + gap) - gap, 128);
    input.x[half] =
        integer::dense_view<const std::uint8_t>(x[half].data(), height, width, widths[0] + gap);
  }
  const std::size_t rows = network.out_size(height), columns = network.out_size(width);
  const std::size_t size = batch * rows * columns * widths.back();
  const auto residual = floats(random, size);
  const bool whole = network.last().end().bits == 0;
  const bool single = depth == 1 && below(random, 2) == 0;
  const auto added = below(random, 2) == 0
                         ? integer::View<const float>{}
                         : integer::dense_view(residual.data(), rows, columns, widths.back());
  std::vector<float> expected;
  std::vector<std::uint8_t> expected_halves[2];
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<float> values(whole ? size : 0);
    std::vector<std::uint8_t> maps[2];
    integer::Output output;
    if (whole) output.values = integer::dense_view(values.data(), rows, columns, widths.back());
    for (std::size_t half = 0; half < network.last().end().halves(); ++half) {
      maps[half].resize(size);
      output.halves[half] = integer::dense_view(maps[half].data(), rows, columns, widths.back());
    }
    if (single) {
      layers[0]->run(input, added, output, isa, 2);
    } else {
      network.run(input, added, output, isa, 2);
    }
    if (isa == cpu::Isa::kScalar) {
      expected = values;
      for (std::size_t half = 0; half < 2; ++half) expected_halves[half] = maps[half];
    }
    // Infinities are no input, but no reason to write elsewhere; NaN is no number to compare.
    for (std::size_t i = 0; i < values.size(); ++i) {
      CHECK(values[i] == expected[i] || (values[i] != values[i] && expected[i] != expected[i]));
    }
    CHECK(maps[0] == expected_halves[0] && maps[1] == expected_halves[1]);
    for (const std::uint8_t value : maps[0]) CHECK(value <= integer::kHalfTop);
    for (const std::uint8_t value : maps[1]) CHECK(value <= integer::kHalfTop);
  }
  x[0][below(random, batch * height * width) * (widths[0] + gap)] = 128;
  // A stride may leave a pixel unread: then nothing is wrong with it.
  if (layers[0]->stride() > 1 || !whole) return;
  std::vector<float> values(size);
  bool refused = false;
  try {
    network.run(input, {}, {integer::dense_view(values.data(), rows, columns, widths.back()), {}},
                cpu::default_isa(), 2);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

void check_elements(std::mt19937& random) {
  const integer::Shape shape{1 + below(random, 2), 1 + below(random, 5), 1 + below(random, 20),
                             1 + below(random, 70)};
  const std::size_t size = shape.batch * shape.height * shape.width * shape.channels;
  const auto x = floats(random, size), lrp = floats(random, size);
  const int bits = 7 << below(random, 2);
  const auto inverse_step = floats(random, shape.channels);
  const auto zero = numbers<std::int32_t>(random, shape.channels, std::size_t{1} << bits);
  // Channels last, or first.
  const auto steps = [](std::size_t n) { return static_cast<std::ptrdiff_t>(n); };
  const auto last = integer::dense_view(x.data(), shape.height, shape.width, shape.channels);
  const bool planes = below(random, 2) == 0;
  integer::View<const float> view = last;
  if (planes) view = {x.data(), last.image, steps(shape.width), 1};
  const std::ptrdiff_t channel = planes ? steps(shape.height * shape.width) : 1;
  std::vector<float> expected;
  std::vector<std::uint8_t> expected_halves[2];
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<std::uint8_t> maps[2];
    integer::View<std::uint8_t> out[2];
    for (int half = 0; half < bits / 7; ++half) {
      maps[half].resize(size);
      out[half] = integer::dense_view(maps[half].data(), shape.height, shape.width, shape.channels);
    }
    integer::quantize(shape, view, channel, inverse_step.data(), zero.data(), bits, out, isa, 2);
    std::vector<float> sums(size);
    integer::add_residual(
        shape, last, integer::dense_view(lrp.data(), shape.height, shape.width, shape.channels),
        integer::dense_view(sums.data(), shape.height, shape.width, shape.channels), isa, 2);
    if (isa == cpu::Isa::kScalar) {
      expected = sums;
      for (std::size_t half = 0; half < 2; ++half) expected_halves[half] = maps[half];
    }
    CHECK(sums == expected && maps[0] == expected_halves[0] && maps[1] == expected_halves[1]);
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int i = 0; i < 150; ++i) {
    const std::size_t kernel = 1 + 2 * below(random, 3);
    check({1 + below(random, 2), 1 + below(random, 10), 1 + below(random, 15),
           1 + below(random, 10), 1 + below(random, 40), 1 + below(random, 3), kernel,
           1 + below(random, kernel < 2 ? kernel : 2), 1 + below(random, 2)},
          random);
    check_network(random);
    check_elements(random);
    if (i % 10 == 0) check_winograd(random);
  }
  return 0;
}
