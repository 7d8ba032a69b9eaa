// Kernels that compute a range of rows: on every instruction set the bits of the whole call, with
// no more of the maps in memory than they say they need. Run under AddressSanitizer and
// UndefinedBehaviorSanitizer.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "attention/window_attention.hpp"
#include "check.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/isa.hpp"
#include "program/attention.hpp"
#include "tiles/convolution.hpp"
#include "winograd/winograd.hpp"

namespace {

namespace attention = lic_fast::attention;
namespace cpu = lic_fast::cpu;
namespace program = lic_fast::program;
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

/// Some rows of a map of images, alone in memory.
template <class T>
struct Part {
  std::vector<T> memory;
  std::size_t begin, end, row, pixel;  // numbers of a row and of a pixel

  std::size_t image() const { return (end - begin) * row; }

  template <class Data>
  cpu::Map<Data> map() {
    const auto address = reinterpret_cast<std::uintptr_t>(memory.data()) - begin * row * sizeof(T);
    return {reinterpret_cast<T*>(address), image(), row, pixel};
  }

  program::View view() {
    return {reinterpret_cast<char*>(memory.data()), begin, row, pixel, pixel};
  }
};

/// Of a dense map, (batch, height, row); rows beyond it are left out.
template <class T>
Part<T> part_of(const std::vector<T>& all, std::size_t batch, std::ptrdiff_t begin, std::size_t end,
                std::size_t row, std::size_t pixel) {
  const std::size_t height = all.size() / batch / row;
  Part<T> part{{},
               static_cast<std::size_t>(std::max<std::ptrdiff_t>(begin, 0)),
               std::min(end, height),
               row,
               pixel};
  for (std::size_t image = 0; image < batch; ++image) {
    const auto first = all.begin() + static_cast<std::ptrdiff_t>(image * height * row);
    part.memory.insert(part.memory.end(), first + static_cast<std::ptrdiff_t>(part.begin * row),
                       first + static_cast<std::ptrdiff_t>(part.end * row));
  }
  return part;
}

template <class T>
void check_same(const Part<T>& found, const std::vector<T>& whole, std::size_t batch) {
  const Part<T> expected = part_of(whole, batch, static_cast<std::ptrdiff_t>(found.begin),
                                   found.end, found.row, found.pixel);
  CHECK(found.memory.size() == expected.memory.size());
  CHECK(std::memcmp(found.memory.data(), expected.memory.data(),
                    expected.memory.size() * sizeof(T)) == 0);
}

/// 0, height and some multiples of the step between them, counted from the shift.
std::vector<std::size_t> boundaries(std::mt19937& random, std::size_t height, std::size_t step,
                                    std::size_t shift = 0) {
  std::vector<std::size_t> all{0};
  for (std::size_t row = shift == 0 ? step : shift; row < height; row += step) {
    if (below(random, 2) == 1) all.push_back(row);
  }
  all.push_back(height);
  return all;
}

template <class T>
void check_attention(std::mt19937& random) {
  const std::size_t window =
      below(random, 2) == 0 ? 1 + below(random, 9) : 4 + 4 * below(random, 2);
  const std::size_t heads = 1 + below(random, 3), size = 8 * (1 + below(random, 2));
  const std::size_t width = heads * size, batch = 1 + below(random, 2);
  const std::size_t rows = 1 + below(random, 30), columns = 1 + below(random, 20);
  const std::size_t shift = below(random, window);
  const auto qkv = numbers<T>(random, batch * rows * columns * 3 * width);
  const auto pad = numbers<float>(random, 3 * width);
  const auto table = numbers<float>(random, (2 * window - 1) * (2 * window - 1) * heads);
  const float mask = below(random, 2) == 1 ? -100.0f : -INFINITY;
  const attention::Parameters parameters{
      heads,       size, window,         shift,
      0.1f,        mask, sizeof(T) == 2, below(random, 2) == 1 ? pad.data() : nullptr,
      table.data()};
  const auto node = program::make_window_attention(
      {table.data(), parameters.pad_value, width, heads, window, shift, 0.1f, mask});
  const program::Size map{rows, columns};
  const std::vector<std::size_t> ends = boundaries(random, rows, window, shift);
  for (const cpu::Isa isa : cpu::supported()) {
    const attention::Tables tables(parameters, isa, attention::Pass::kForward);
    std::vector<T> whole(batch * rows * columns * width);
    const auto compute = [&](std::size_t begin, std::size_t end) {
      Part<T> from = part_of(qkv, batch, static_cast<std::ptrdiff_t>(begin), end,
                             columns * 3 * width, 3 * width);
      Part<T> to =
          part_of(whole, batch, static_cast<std::ptrdiff_t>(begin), end, columns * width, width);
      std::fill(to.memory.begin(), to.memory.end(), cpu::narrow<T>(NAN));
      attention::window_attention({tables, batch, rows, columns, from.template map<const void>(),
                                   to.template map<void>(), begin, end},
                                  2);
      return to;
    };
    whole = compute(0, rows).memory;
    for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
      const program::Rows own{ends[i], ends[i + 1]};
      check_same(compute(own.begin, own.end), whole, batch);
      // A node reads just these rows, and would end no earlier.
      const program::Rows needed = node->needs(0, own, {map}, map);
      CHECK(needed.begin == own.begin && needed.end == own.end);
      CHECK(node->stop(own.end, map) == own.end);
      CHECK(node->stop(own.begin + 1, map) <= own.end);
      if (batch > 1) continue;
      Part<T> from = part_of(qkv, 1, static_cast<std::ptrdiff_t>(own.begin), own.end,
                             columns * 3 * width, 3 * width);
      Part<T> to = part_of(whole, 1, static_cast<std::ptrdiff_t>(own.begin), own.end,
                           columns * width, width);
      std::fill(to.memory.begin(), to.memory.end(), cpu::narrow<T>(NAN));
      const bool all = own.count() == rows;
      node->prepare({map}, sizeof(T) == 2, isa, 2);
      node->run({{from.view()}, {map}, to.view(), map, sizeof(T) == 2, all, isa, 2}, own);
      check_same(to, whole, 1);
    }
  }
}

template <class T>
void check_winograd(std::mt19937& random) {
  const std::size_t kernel = 3 + 2 * below(random, 2), batch = 1 + below(random, 2);
  const std::size_t rows = 1 + below(random, 24), columns = 1 + below(random, 12);
  const std::size_t phases = 1 + below(random, 2), shuffle = 1 + below(random, 2);
  const std::size_t each = winograd::kPanel, inputs = each * phases * phases;
  const std::size_t of_pixel = winograd::kPanel * (1 + below(random, 2));
  const std::size_t outputs = of_pixel * shuffle * shuffle, side = kernel / 2;
  const auto x = numbers<T>(random, batch * rows * columns * inputs);
  const auto weights = numbers<float>(random, outputs * inputs * kernel * kernel);
  const auto bias = numbers<float>(random, outputs);
  const auto skip = numbers<T>(random, batch * rows * columns * outputs);
  const winograd::Weights packed(weights.data(), outputs, inputs, kernel, below(random, 2) == 1,
                                 winograd::Products::kFloats, 2);
  const winograd::Weights words(weights.data(), outputs, inputs, kernel, true,
                                winograd::Products::kWords, 2);
  const std::size_t across = columns * shuffle * of_pixel;
  const std::vector<std::size_t> ends = boundaries(random, rows, packed.step());
  for (const cpu::Isa isa : cpu::supported()) {
    const bool by_words = sizeof(T) == 2 && cpu::multiplies_words(isa);
    std::vector<T> whole = skip;
    const auto compute = [&](std::size_t begin, std::size_t end) {
      const auto first = static_cast<std::ptrdiff_t>(begin * shuffle);
      Part<T> from =
          part_of(x, batch,
                  (static_cast<std::ptrdiff_t>(begin) - static_cast<std::ptrdiff_t>(side)) *
                      static_cast<std::ptrdiff_t>(phases),
                  (end + side) * phases, columns * phases * each, each);
      Part<T> residual = part_of(skip, batch, first, end * shuffle, across, of_pixel);
      Part<T> to = part_of(whole, batch, first, end * shuffle, across, of_pixel);
      std::fill(to.memory.begin(), to.memory.end(), cpu::narrow<T>(NAN));
      winograd::compute(
          {by_words ? words : packed, bias.data(), sizeof(T) == 2, batch, rows, columns, phases,
           shuffle, from.template map<const void>(), residual.template map<const void>(),
           to.template map<void>(), winograd::Activation::kGelu, begin, end},
          isa, 2);
      return to;
    };
    whole = compute(0, rows).memory;
    for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
      check_same(compute(ends[i], ends[i + 1]), whole, batch);
    }
  }
}

void check_tiles(std::mt19937& random) {
  using T = std::uint16_t;
  const std::size_t kernel = 1 + 2 * below(random, 3), stride = 1 + below(random, 2);
  const std::size_t batch = 1 + below(random, 2), shuffle = 1 + below(random, 2);
  const std::size_t height = 1 + below(random, 20), width = 1 + below(random, 40);
  const std::size_t inputs = 1 + below(random, 50), of_pixel = 1 + below(random, 20);
  const std::size_t outputs = of_pixel * shuffle * shuffle, side = kernel / 2;
  const auto x = numbers<T>(random, batch * height * width * inputs);
  const auto weights = numbers<float>(random, outputs * inputs * kernel * kernel);
  const auto bias = numbers<float>(random, outputs);
  const tiles::Weights packed(weights.data(), bias.data(), outputs, inputs, kernel);
  const std::size_t rows = (height + stride - 1) / stride, columns = (width + stride - 1) / stride;
  const std::size_t across = columns * shuffle * of_pixel;
  const auto skip = numbers<T>(random, batch * rows * shuffle * across);
  std::vector<T> whole = skip;
  const auto compute = [&](std::size_t begin, std::size_t end) {
    const auto first = static_cast<std::ptrdiff_t>(begin * shuffle);
    Part<T> from = part_of(
        x, batch, static_cast<std::ptrdiff_t>(begin * stride) - static_cast<std::ptrdiff_t>(side),
        (end - 1) * stride + side + 1, width * inputs, inputs);
    Part<T> residual = part_of(skip, batch, first, end * shuffle, across, of_pixel);
    Part<T> to = part_of(whole, batch, first, end * shuffle, across, of_pixel);
    std::fill(to.memory.begin(), to.memory.end(), cpu::narrow<T>(NAN));
    tiles::compute({packed, batch, height, width, stride, shuffle, from.map<const T>(),
                    residual.map<const T>(), to.map<T>(), tiles::Activation::kGelu, begin, end},
                   2);
    return to;
  };
  whole = compute(0, rows).memory;
  const std::vector<std::size_t> ends = boundaries(random, rows, 1);
  for (std::size_t i = 0; i + 1 < ends.size(); ++i) {
    check_same(compute(ends[i], ends[i + 1]), whole, batch);
  }
}

/// Threads that need a node's tables at once.
void check_preparation(std::mt19937& random) {
  const std::size_t heads = 2, window = 8, rows = 16, columns = 16, width = 32;
  const auto table = numbers<float>(random, 15 * 15 * heads);
  const auto qkv = numbers<float>(random, rows * columns * 3 * width);
  const auto node = program::make_window_attention(
      {table.data(), nullptr, width, heads, window, 4, 0.3f, -100.0f});
  const program::Size map{rows, columns};
  std::vector<std::vector<float>> outs(4, std::vector<float>(rows * columns * width, NAN));
  std::vector<std::thread> threads;
  for (auto& out : outs) {
    threads.emplace_back([&] {
      Part<float> from = part_of(qkv, 1, 0, rows, columns * 3 * width, 3 * width);
      const program::View to{reinterpret_cast<char*>(out.data()), 0, columns * width, width, width};
      const cpu::Isa isa = cpu::supported().back();
      node->run({{from.view()}, {map}, to, map, false, true, isa, 1}, {0, rows});
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const auto& out : outs) CHECK(!std::isnan(out[0]) && out == outs[0]);
}

/// What make_window_attention refuses.
void check_refusals(std::mt19937& random) {
  const auto table = numbers<float>(random, 49 * 2);
  const auto refuses = [&](std::size_t channels, std::size_t heads, std::size_t window,
                           std::size_t shift) {
    try {
      program::make_window_attention(
          {table.data(), nullptr, channels, heads, window, shift, 1.0f, -100.0f});
    } catch (const std::invalid_argument&) {
      return true;
    }
    return false;
  };
  CHECK(!refuses(8, 2, 4, 3));
  CHECK(refuses(9, 2, 4, 0) && refuses(8, 0, 4, 0) && refuses(0, 2, 4, 0));
  CHECK(refuses(8, 2, 0, 0) && refuses(8, 2, 17, 0) && refuses(8, 2, 4, 4));
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    check_attention<float>(random);
    check_attention<std::uint16_t>(random);
    check_winograd<float>(random);
    check_winograd<std::uint16_t>(random);
    if (cpu::supported(cpu::Isa::kAmx)) check_tiles(random);
  }
  check_preparation(random);
  check_refusals(random);
  return 0;
}
