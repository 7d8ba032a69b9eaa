// Programs of integer layers: the bits of the scalar build, which tests/ops holds to the
// definition, on every instruction set, alone and side by side; and programs that make no sense.
// Every array is of just its size. Run under AddressSanitizer and UndefinedBehaviorSanitizer, and
// under ThreadSanitizer.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <stdexcept>
#include <vector>

#include "check.hpp"
#include "cpu/isa.hpp"
#include "integer/layer.hpp"
#include "integer/program.hpp"
#include "integer/quantizer.hpp"

namespace {

namespace integer = lic_fast::integer;
namespace cpu = lic_fast::cpu;
using integer::kNoMap;

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

template <class T>
std::vector<T> numbers(std::mt19937& random, std::size_t count, std::size_t limit, int offset = 0) {
  std::vector<T> all(count);
  for (T& x : all) x = static_cast<T>(static_cast<int>(below(random, limit)) - offset);
  return all;
}

std::vector<float> floats(std::mt19937& random, std::size_t count, float low, float high) {
  std::uniform_real_distribution<float> values(low, high);
  std::vector<float> all(count);
  for (float& x : all) x = values(random);
  return all;
}

std::shared_ptr<const integer::Quantizer> quantizer(std::mt19937& random, std::size_t channels,
                                                    int bits) {
  const auto steps = floats(random, channels, 100.0f, 4000.0f);
  const auto zero = numbers<std::int32_t>(random, channels, std::size_t{1} << bits);
  return std::make_shared<integer::Quantizer>(steps.data(), zero.data(), channels, bits);
}

std::shared_ptr<const integer::Network> layer(std::mt19937& random, std::size_t in, std::size_t out,
                                              std::size_t halves, int bits) {
  const std::size_t kernel = 1 + 2 * below(random, 2);
  const auto weight = numbers<std::int8_t>(random, in * out * kernel * kernel, 256, 128);
  const auto bias = numbers<std::int32_t>(random, out, 2001, 1000);
  const auto scale = floats(random, out, -2e-6f, 2e-6f);
  const auto steps = floats(random, out, 100.0f, 4000.0f);
  const auto zero = numbers<std::int32_t>(random, out, bits == 0 ? 1 : std::size_t{1} << bits);
  const auto border = numbers<std::uint8_t>(random, in, 128);
  integer::Parameters parameters{weight.data(), out,          in, 1,  kernel, 1,
                                 bias.data(),   scale.data(), {}, {}, bits,   steps.data(),
                                 zero.data()};
  parameters.activation = static_cast<integer::Activation>(below(random, 4));
  for (std::size_t half = 0; half < halves; ++half) parameters.border.push_back(border.data());
  std::vector<std::shared_ptr<const integer::Layer>> layers;
  layers.push_back(std::make_shared<integer::Layer>(parameters));
  return std::make_shared<integer::Network>(layers);
}

struct Made {
  std::vector<integer::MapKind> maps;
  std::vector<integer::Step> steps;
  std::size_t window;
};

/// Layers, norm, attention, gate and quantisation, in the order of an attention module. Map 0 is
/// given, maps 2, 6 and 8 are asked for.
Made random_program(std::mt19937& random) {
  const std::size_t heads = 1 + below(random, 3), n = heads * (1 + below(random, 20));
  const std::size_t in = 1 + below(random, 40), window = 1 + below(random, 8);
  const int bits = 7 << below(random, 2);
  const std::size_t halves = bits == 14 ? 1 + below(random, 2) : 1;
  const auto parts = static_cast<std::size_t>(bits / 7);
  Made made{
      {{in, parts}, {n}, {n, parts}, {n, parts}, {3 * n}, {n, parts}, {n}, {n, parts}, {n, parts}},
      {},
      window};
  const std::size_t tokens = window * window;
  made.steps = {integer::LayersStep{layer(random, in, n, halves, bits), 0, kNoMap, 1, 2},
                integer::NormStep{floats(random, n, -2.0f, 2.0f), floats(random, n, -2.0f, 2.0f),
                                  3000.0f, 1e3f, quantizer(random, n, bits), 1, 3},
                integer::LayersStep{layer(random, n, 3 * n, halves, 0), 3, kNoMap, 4, kNoMap},
                integer::AttentionStep{floats(random, 3 * n, 1.0f, 600.0f),
                                       floats(random, heads, 1e-7f, 1e-4f),
                                       floats(random, heads * tokens * tokens, -2.0f, 2.0f),
                                       floats(random, n, 1e-3f, 1.0f), window,
                                       below(random, window), quantizer(random, n, bits), 4, 5},
                integer::LayersStep{layer(random, n, n, halves, 0), 5, 1, 6, kNoMap},
                integer::QuantizeStep{quantizer(random, n, bits), 6, 7},
                integer::GateStep{quantizer(random, n, bits), 6, 1, 1, 8}};
  return made;
}

/// What a call wrote, and where.
struct Written {
  std::vector<std::uint8_t> halves[2][2];
  std::vector<float> values;
  std::vector<integer::Place> places;
};

void check_program(std::mt19937& random) {
  const Made made = random_program(random);
  const integer::Program program(made.maps, made.steps, {0}, {2, 6, 8});
  const std::size_t batch = 1 + below(random, 2), height = made.window * (1 + below(random, 2));
  const std::size_t width = made.window * (1 + below(random, 3)), pixels = batch * height * width;
  const std::size_t in = made.maps[0].channels, n = made.maps[1].channels;
  std::vector<std::uint8_t> x[2];
  integer::Place given;
  for (std::size_t half = 0; half < made.maps[0].halves; ++half) {
    x[half] = numbers<std::uint8_t>(random, pixels * in, 128);
    given.halves[half] = integer::dense_view(x[half].data(), height, width, in);
  }
  std::vector<Written> written(1 + below(random, 3));
  Written expected;
  for (const cpu::Isa isa : cpu::supported()) {
    std::vector<integer::Call> calls;
    for (Written& w : written) {
      w.places.assign(3, {});
      for (const std::size_t map : {0, 1}) {
        for (std::size_t half = 0; half < made.maps[2].halves; ++half) {
          w.halves[map][half].assign(pixels * n, 200);
          w.places[2 * map].halves[half] =
              integer::dense_view(w.halves[map][half].data(), height, width, n);
        }
      }
      w.values.assign(pixels * n, -1.0f);
      w.places[1].values = integer::dense_view(w.values.data(), height, width, n);
      calls.push_back({&program, batch, height, width, {given}, w.places});
    }
    const auto threads = static_cast<unsigned>(1 + below(random, 5));
    integer::run_side_by_side(calls, isa, threads);
    if (isa == cpu::Isa::kScalar) expected = written[0];
    for (const Written& w : written) {
      CHECK(w.values == expected.values);
      for (const int map : {0, 1}) {
        for (const int half : {0, 1}) CHECK(w.halves[map][half] == expected.halves[map][half]);
      }
    }
  }
}

template <class Change>
void check_refused(std::mt19937& random, const Change& change) {
  Made made = random_program(random);
  std::vector<integer::MapId> inputs{0}, outputs{2, 6, 8};
  change(made, inputs, outputs);
  bool refused = false;
  try {
    const integer::Program program(made.maps, made.steps, inputs, outputs);
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

void check_refusals(std::mt19937& random) {
  using Ids = std::vector<integer::MapId>;
  check_refused(random, [](Made& m, Ids&, Ids&) { std::swap(m.steps[0], m.steps[1]); });
  check_refused(random, [](Made& m, Ids&, Ids&) { m.steps.push_back(m.steps[0]); });
  check_refused(random, [](Made&, Ids& inputs, Ids&) { inputs = {0, 0}; });
  check_refused(random, [](Made&, Ids& inputs, Ids&) { inputs = {0, 9}; });
  check_refused(random, [](Made&, Ids&, Ids& outputs) { outputs = {0}; });
  check_refused(random, [](Made&, Ids&, Ids& outputs) { outputs = {2, 2}; });
  check_refused(random, [](Made& m, Ids&, Ids&) { m.maps[0].channels = 0; });
  check_refused(random, [](Made& m, Ids&, Ids&) { m.maps[0].halves = 3; });
  for (const std::size_t map : {0, 1, 2, 3, 4, 5, 6, 7, 8}) {
    check_refused(random, [map](Made& m, Ids&, Ids&) { m.maps[map].channels += 1; });
    check_refused(random, [map](Made& m, Ids&, Ids&) {
      m.maps[map].halves = m.maps[map].halves == 0 ? 1 : 0;
    });
  }
  check_refused(random, [](Made& m, Ids&, Ids&) {
    std::get<integer::LayersStep>(m.steps[2]).values = kNoMap;
  });
  check_refused(
      random, [](Made& m, Ids&, Ids&) { std::get<integer::AttentionStep>(m.steps[3]).shift = 8; });
  check_refused(random, [](Made& m, Ids&, Ids&) {
    std::get<integer::AttentionStep>(m.steps[3]).quantizer = nullptr;
  });
  check_refused(random, [](Made& m, Ids&, Ids&) {
    std::get<integer::LayersStep>(m.steps[0]).network = nullptr;
  });
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    check_program(random);
    check_refusals(random);
  }
  return 0;
}
