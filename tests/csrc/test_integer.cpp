// The integer convolution against its definition, on every instruction set, for shapes that leave
// something over at every edge. Run under AddressSanitizer and UndefinedBehaviorSanitizer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

#include "cpu/isa.hpp"
#include "integer/conv.hpp"

namespace {

namespace integer = lic_fast::integer;
namespace cpu = lic_fast::cpu;

struct Case {
  std::size_t batch, height, width, group_in, group_out, groups, kernel, stride, halves;
};

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

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

void check(const Case& c, std::mt19937& random) {
  const std::size_t in = c.group_in * c.groups, out = c.group_out * c.groups;
  std::vector<std::int8_t> weights(out * c.group_in * c.kernel * c.kernel);
  for (auto& w : weights) w = static_cast<std::int8_t>(static_cast<int>(below(random, 256)) - 128);
  std::vector<std::uint8_t> x[2];
  std::vector<std::uint8_t> border[2];
  const integer::Weights packed(weights.data(), out, in, c.groups, c.kernel);
  integer::Problem problem{packed, c.batch, c.height, c.width, c.stride, c.halves, {}, {}, nullptr};
  for (std::size_t half = 0; half < c.halves; ++half) {
    x[half].resize(c.batch * c.height * c.width * in);
    for (auto& value : x[half]) value = static_cast<std::uint8_t>(below(random, 128));
    problem.x[half] = x[half].data();
    border[half].resize(in);
    for (auto& value : border[half]) value = static_cast<std::uint8_t>(below(random, 128));
    problem.border[half] = border[half].data();
  }
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<std::int32_t> sums(c.batch * problem.out_height() * problem.out_width() * out, -1);
    problem.out = sums.data();
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
  }
  return 0;
}
