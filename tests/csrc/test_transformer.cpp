// Window attention, norm and gate of portable networks: the bits of the scalar build, which
// tests/ops holds to the definition, on every instruction set, for windows, heads and counts that
// are no whole vectors. Every array is of just its size. Run under AddressSanitizer and
// UndefinedBehaviorSanitizer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "check.hpp"
#include "cpu/isa.hpp"
#include "integer/transformer.hpp"

namespace {

namespace integer = lic_fast::integer;
namespace cpu = lic_fast::cpu;

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

std::vector<float> floats(std::mt19937& random, std::size_t count, float low, float high) {
  std::uniform_real_distribution<float> values(low, high);
  std::vector<float> all(count);
  for (float& x : all) x = values(random);
  return all;
}

/// Calls compute(isa, out) on every instruction set, and compares what it writes.
template <class Compute>
void check_same(std::size_t count, const Compute& compute) {
  std::vector<float> expected(count, -1.0f);
  compute(cpu::Isa::kScalar, expected.data());
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<float> found(count, -2.0f);
    compute(isa, found.data());
    CHECK(count == 0 || std::memcmp(found.data(), expected.data(), count * sizeof(float)) == 0);
  }
}

void check_attention(std::mt19937& random) {
  const std::size_t window = 1 + below(random, 8), heads = 1 + below(random, 3);
  const std::size_t channels = heads * (1 + below(random, 64)), tokens = window * window;
  const std::size_t batch = 1 + below(random, 2);
  const std::size_t height = window * (1 + below(random, 2)),
                    width = window * (1 + below(random, 3));
  const std::size_t pixels = batch * height * width;
  const auto qkv = floats(random, pixels * 3 * channels, -3.0f, 3.0f);
  const auto inverse_step = floats(random, 3 * channels, 1.0f, 600.0f);
  const auto scale = floats(random, heads, 1e-7f, 1e-4f);
  const auto bias = floats(random, heads * tokens * tokens, -2.0f, 2.0f);
  const auto value_step = floats(random, channels, 1e-3f, 1.0f);
  const std::size_t shift = below(random, window);
  check_same(pixels * channels, [&](cpu::Isa isa, float* out) {
    integer::attend({batch, height, width, channels, heads, window, shift,
                     integer::dense_view(qkv.data(), height, width, 3 * channels),
                     inverse_step.data(), scale.data(), bias.data(), value_step.data(),
                     integer::dense_view(out, height, width, channels)},
                    isa, 2);
  });
}

void check_norm(std::mt19937& random) {
  const std::size_t count = 1 + below(random, 150), channels = 1 + below(random, 200);
  const auto x = floats(random, count * channels, -8.0f, 8.0f);
  const auto weight = floats(random, channels, -2.0f, 2.0f);
  const auto bias = floats(random, channels, -2.0f, 2.0f);
  check_same(count * channels, [&](cpu::Isa isa, float* out) {
    integer::layer_norm(x.data(), count, channels, {weight.data(), bias.data(), 5000.0f, 1e3f}, out,
                        isa, 2);
  });
}

void check_sigmoid(std::mt19937& random) {
  const std::size_t count = below(random, 20000);
  const auto x = floats(random, count, -100.0f, 100.0f);
  check_same(count,
             [&](cpu::Isa isa, float* out) { integer::sigmoid(x.data(), count, out, isa, 2); });
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int i = 0; i < 60; ++i) {
    check_attention(random);
    check_norm(random);
    check_sigmoid(random);
  }
  return 0;
}
