// Convolutions as nodes: beside the definition on every instruction set, whatever kernel they
// choose, and band by band with no more of the maps in memory than they say they need, to the bits
// of the whole. Run under AddressSanitizer and UndefinedBehaviorSanitizer.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <vector>

#include "check.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/isa.hpp"
#include "program/convolution.hpp"

namespace {

namespace cpu = lic_fast::cpu;
using lic_fast::program::Call;
using lic_fast::program::Convolution;
using lic_fast::program::make_convolution;
using lic_fast::program::Rows;
using lic_fast::program::Size;
using lic_fast::program::View;

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

template <class T>
std::vector<T> numbers(std::mt19937& random, std::size_t count, float size) {
  std::uniform_real_distribution<float> values(-size, size);
  std::vector<T> all(count);
  for (T& x : all) x = cpu::narrow<T>(values(random));
  return all;
}

/// Rows of a map that are alone in memory.
template <class T>
struct Part {
  Part(const std::vector<T>& all, Rows rows_, Size size, std::size_t channels_)
      : rows(rows_), row(size.width * channels_), channels(channels_) {
    const auto at = [&](std::size_t r) {
      return all.begin() + static_cast<std::ptrdiff_t>(r * row);
    };
    memory.assign(at(rows.begin), at(rows.end));
  }

  View view() {
    return {reinterpret_cast<char*>(memory.data()), rows.begin, row, channels, channels};
  }

  std::vector<T> memory;
  Rows rows;
  std::size_t row, channels;
};

float activated(float x, cpu::Activation activation) {
  switch (activation) {
    case cpu::Activation::kRelu:
      return std::max(0.0f, x);
    case cpu::Activation::kLeakyRelu:
      return std::max(x, 0.01f * x);
    case cpu::Activation::kGelu:
      return static_cast<float>(x * 0.5 * std::erfc(-x * std::sqrt(0.5)));
    default:
      return x;
  }
}

/// What a node should compute.
template <class T>
std::vector<float> definition(const Convolution& c, const std::vector<T>& x, Size in, Size out,
                              const std::vector<T>& residual) {
  const std::size_t channels = c.outputs / (c.shuffle * c.shuffle);
  std::vector<float> all(out.height * out.width * channels);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::size_t row = i / channels / out.width, column = i / channels % out.width;
    const std::size_t output =
        (row % c.shuffle * c.shuffle + column % c.shuffle) * channels + i % channels;
    double sum = c.bias == nullptr ? 0.0 : c.bias[output];
    for (std::size_t tap = 0; tap < c.kernel * c.kernel; ++tap) {
      const std::size_t r = row / c.shuffle * c.stride + tap / c.kernel - c.padding;
      const std::size_t k = column / c.shuffle * c.stride + tap % c.kernel - c.padding;
      if (r >= in.height || k >= in.width) continue;  // those before the map have wrapped round
      for (std::size_t n = 0; n < c.inputs; ++n) {
        sum += static_cast<double>(cpu::wide(x[(r * in.width + k) * c.inputs + n])) *
               c.weight[(output * c.inputs + n) * c.kernel * c.kernel + tap];
      }
    }
    if (c.residual) sum += cpu::wide(residual[i]);
    all[i] = activated(static_cast<float>(sum), c.activation);
  }
  return all;
}

/// Returns the kernels that were used.
template <class T>
std::set<std::string> check_convolution(std::mt19937& random) {
  constexpr std::size_t kForms[][3] = {{1, 1, 0}, {3, 1, 1}, {3, 2, 1}, {5, 1, 2}, {5, 2, 2},
                                       {2, 2, 0}, {1, 2, 0}, {3, 1, 0}, {4, 3, 1}};
  const auto& form = kForms[below(random, std::size(kForms))];
  const std::size_t shuffle = 1 + below(random, 2);
  const bool whole_panels = below(random, 2) == 0, residual = below(random, 2) == 0;
  const std::size_t inputs = whole_panels ? 16 * (1 + below(random, 4)) : 1 + below(random, 40);
  const std::size_t channels = 1 + below(random, 24);
  const bool large = below(random, 2) == 0;
  Size in{4 + below(random, large ? 40 : 16), 4 + below(random, large ? 40 : 16)};
  if (form[1] == 2 && below(random, 4) > 0) in = {in.height / 2 * 2, in.width / 2 * 2};
  const std::size_t outputs = channels * shuffle * shuffle, area = form[0] * form[0];
  const float size = 1.0f / std::sqrt(static_cast<float>(inputs * area));
  const auto weight = numbers<float>(random, outputs * inputs * area, size);
  std::vector<float> rounded(weight.size());  // to what tiles multiply
  std::transform(weight.begin(), weight.end(), rounded.begin(),
                 [](float w) { return cpu::wide(cpu::narrow<std::uint16_t>(w)); });
  const auto bias = numbers<float>(random, outputs, 1.0f);
  const Convolution c{(sizeof(T) == 2 ? rounded : weight).data(),
                      below(random, 3) == 0 ? nullptr : bias.data(),
                      outputs,
                      inputs,
                      form[0],
                      form[1],
                      form[2],
                      shuffle,
                      static_cast<cpu::Activation>(below(random, 4)),
                      residual,
                      below(random, 2) == 0};
  const auto node = make_convolution(c);
  std::vector<Size> sizes{in};
  if (residual) {
    const std::size_t padded = 2 * c.padding - c.kernel;
    sizes.push_back({((in.height + padded) / c.stride + 1) * shuffle,
                     ((in.width + padded) / c.stride + 1) * shuffle});
  }
  const Size out = node->output_size(sizes);
  const auto x = numbers<T>(random, in.height * in.width * inputs, 2.0f);
  const auto skip = numbers<T>(random, out.height * out.width * channels, 1.0f);
  const std::vector<float> expected = definition(c, x, in, out, skip);
  std::set<std::string> kernels;
  for (const cpu::Isa isa : cpu::supported()) {
    const bool bfloat16 = sizeof(T) == 2;
    kernels.insert(node->kernel(sizes, bfloat16, isa));
    if (below(random, 2) == 0) node->prepare(sizes, bfloat16, isa, 2);
    const auto run = [&](Rows rows, const std::vector<T>& all) {
      std::vector<Part<T>> parts{{x, node->needs(0, rows, sizes, out), in, inputs}};
      if (residual) parts.push_back({skip, node->needs(1, rows, sizes, out), out, channels});
      Part<T> part(all, rows, out, channels);
      Call call{{},          sizes,
                part.view(), out,
                bfloat16,    rows.count() == out.height,
                isa,         static_cast<unsigned>(1 + below(random, 3))};
      for (Part<T>& input : parts) call.inputs.push_back(input.view());
      if (residual && node->in_place(1) && below(random, 2) == 0) {
        part.memory = parts[1].memory;
        call.inputs[1] = call.output;
      }
      node->run(call, rows);
      return part.memory;
    };
    const std::vector<T> none(expected.size());
    const std::vector<T> whole = run({0, out.height}, none);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const float limit = bfloat16 ? 0.004f * std::fabs(expected[i]) + 0.02f : 1e-4f;
      CHECK(std::fabs(cpu::wide(whole[i]) - expected[i]) <= limit);
    }
    for (std::size_t begin = 0; begin < out.height;) {
      const std::size_t end = node->stop(begin + 1 + below(random, 12), out);
      const std::vector<T> band = run({begin, end}, none);
      CHECK(std::memcmp(band.data(), whole.data() + begin * out.width * channels,
                        band.size() * sizeof(T)) == 0);
      begin = end;
    }
  }
  return kernels;
}

void check_refused() {
  const std::vector<float> weight(16 * 9);
  const auto refused = [&](const Convolution& c, const std::vector<Size>& sizes) {
    try {
      make_convolution(c)->output_size(sizes);
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  const Convolution good{weight.data(),          nullptr, 4,    4, 3, 1, 1, 1,
                         cpu::Activation::kNone, false,   false};
  CHECK(!refused(good, {{4, 4}}));
  Convolution c = good;
  c.outputs = 0;
  CHECK(refused(c, {{4, 4}}));
  c = good;
  c.shuffle = 3;
  CHECK(refused(c, {{4, 4}}));
  c = good;
  c.stride = 0;
  CHECK(refused(c, {{4, 4}}));
  c = good;
  c.padding = 0;
  CHECK(refused(c, {{2, 4}}));
  CHECK(refused(good, {{4, 4}, {4, 4}}));
  c = good;
  c.residual = true;
  CHECK(refused(c, {{4, 4}, {4, 5}}));
}

}  // namespace

int main() {
  std::mt19937 random(1);
  std::set<std::string> kernels;
  for (int i = 0; i < 100; ++i) {
    kernels.merge(check_convolution<float>(random));
    kernels.merge(check_convolution<std::uint16_t>(random));
  }
  CHECK(kernels.count("direct") == 1 && kernels.count("linear") == 1);
  if (cpu::supported(cpu::Isa::kAvx2)) {
    for (const char* name : {"Winograd, compact weights", "Winograd, int16", "linear, int16"}) {
      CHECK(kernels.count(name) == 1);
    }
  }
  check_refused();
}
