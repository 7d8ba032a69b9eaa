// Programs: random graphs of nodes whose rows depend on rows above and below, on strides, blocks
// and windows, in bands of any height give what they give in one band, with every read and write
// within the memory that the plan has. Run under AddressSanitizer and UndefinedBehaviorSanitizer,
// and with several calls at once under ThreadSanitizer.
//
// The nodes are of the test: they sum numbers that are small integers, so that a row that is lost,
// late or of another map shows, and they fail where they get rows that they did not ask for.

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <stdexcept>
#include <thread>
#include <vector>

#include "check.hpp"
#include "cpu/bfloat16.hpp"
#include "cpu/once.hpp"
#include "program/nodes.hpp"
#include "program/program.hpp"

namespace {

namespace cpu = lic_fast::cpu;
namespace program = lic_fast::program;
using program::Rows;
using program::Size;

std::size_t below(std::mt19937& random, std::size_t limit) { return random() % limit; }

/// Each number is a sum of those of rows row * stride - above to row * stride + below of all inputs
/// in the same column times the stride, modulo 64; bands end at multiples of `align`, moved by
/// `shift`.
struct Sums final : program::Node {
  std::size_t above, under, stride, align, shift;
  bool overwrites;

  Size output_size(const std::vector<Size>& inputs) const override {
    const Size x = inputs[0];
    for (const Size y : inputs) {
      if (y.height != x.height || y.width != x.width) throw std::invalid_argument("sizes");
    }
    return {(x.height + stride - 1) / stride, (x.width + stride - 1) / stride};
  }
  Rows needs(std::size_t, Rows rows, const std::vector<Size>& inputs, Size) const override {
    const std::size_t height = inputs[0].height;
    const std::size_t begin = rows.begin * stride, last = (rows.end - 1) * stride;
    return {begin < above ? 0 : std::min(height, begin - above),
            std::min(height, last + under + 1)};
  }
  std::size_t stop(std::size_t end, Size output) const override {
    std::size_t at = shift;
    while (at < end) at += align;
    return std::min(at, output.height);
  }
  bool in_place(std::size_t) const override { return overwrites; }

  void run(const program::Call& call, Rows rows) const override {
    CHECK(rows.begin < rows.end && rows.end <= call.output_size.height);
    CHECK(rows.begin == 0 || stop(rows.begin, call.output_size) == rows.begin);
    CHECK(rows.end == stop(rows.end, call.output_size));
    CHECK(call.whole == (rows.begin == 0 && rows.end == call.output_size.height));
    if (call.bfloat16) {
      compute<std::uint16_t>(call, rows);
    } else {
      compute<float>(call, rows);
    }
  }

  template <class T>
  void compute(const program::Call& call, Rows rows) const {
    const auto out = call.output.map<T>();
    for (std::size_t row = rows.begin; row < rows.end; ++row) {
      for (std::size_t column = 0; column < call.output_size.width; ++column) {
        for (std::size_t c = 0; c < call.output.channels; ++c) {
          unsigned sum = static_cast<unsigned>(above + 3 * under + 5 * c);
          for (std::size_t i = 0; i < call.inputs.size(); ++i) {
            const auto x = call.inputs[i].map<const T>();
            const Rows read = needs(i, {row, row + 1}, call.input_sizes, call.output_size);
            for (std::size_t r = read.begin; r < read.end; ++r) {
              const std::size_t channel = c % call.inputs[i].channels;
              const float number =
                  cpu::wide(x.data[r * x.row + column * stride * x.pixel + channel]);
              CHECK(number >= 0 && number < 64);
              sum = sum * 3 + static_cast<unsigned>(number) + static_cast<unsigned>(r % 7);
            }
          }
          out.data[row * out.row + column * out.pixel + c] =
              cpu::narrow<T>(static_cast<float>(sum % 64));
        }
      }
    }
  }

  std::string kind() const override { return "sums"; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return "sums"; }
};

std::shared_ptr<Sums> sums(std::mt19937& random, bool pixels) {
  auto node = std::make_shared<Sums>();
  node->above = pixels ? 0 : below(random, 4);
  node->under = pixels ? 0 : below(random, 4);
  node->stride = pixels ? 1 : 1 + (below(random, 4) == 0 ? 1 : 0);
  node->align = 1 + below(random, 5);
  node->shift = below(random, node->align);
  node->overwrites = pixels && below(random, 4) != 0;
  return node;
}

/// A graph of some steps on one or two inputs of a size, and the outputs' number.
struct Made {
  std::unique_ptr<program::Program> program;
  std::vector<Size> sizes;
};

struct Known {
  program::MapId map;
  std::size_t level;  // how often its size was halved
};

Made random_program(std::mt19937& random) {
  program::Builder builder(below(random, 2) == 1);
  std::vector<Known> known;
  const std::size_t inputs = 1 + below(random, 2);
  for (std::size_t i = 0; i < inputs; ++i)
    known.push_back({builder.input(1 + below(random, 5)), 0});
  const std::size_t steps = 1 + below(random, 14);
  for (std::size_t step = 0; step < steps; ++step) {
    // Most often what was made last.
    const std::size_t recent = std::min<std::size_t>(known.size(), 1 + below(random, 4));
    const Known x = known[known.size() - 1 - below(random, recent)];
    std::vector<program::MapId> same;
    for (const Known& k : known) {
      if (k.level == x.level) same.push_back(k.map);
    }
    const auto any = [&] { return same[below(random, same.size())]; };
    const std::size_t channels = builder.channels(x.map);
    switch (below(random, 6)) {
      case 0: {
        const std::size_t first = below(random, channels);
        const std::size_t count = 1 + below(random, channels - first);
        known.push_back({builder.split(x.map, first, count), x.level});
        break;
      }
      case 1: {
        std::vector<program::MapId> parts{x.map};
        for (std::size_t i = below(random, 3); i > 0; --i) parts.push_back(any());
        if (below(random, 2) == 1) std::swap(parts.front(), parts.back());
        known.push_back({builder.concat(parts), x.level});
        break;
      }
      case 2: {
        const auto node = sums(random, true);
        std::vector<program::MapId> operands{x.map};
        if (below(random, 2) == 1) operands.push_back(any());
        known.push_back({builder.add(node, operands, channels), x.level});
        break;
      }
      case 3:
        if (channels % 4 == 0 && x.level > 0) {
          known.push_back(
              {builder.add(program::make_depth_to_space(2), {x.map}, channels / 4), x.level - 1});
        }
        break;
      default: {
        const auto node = sums(random, false);
        std::vector<program::MapId> operands{x.map};
        if (below(random, 3) == 0) operands.push_back(any());
        const std::size_t made = below(random, 2) == 0 ? channels : 4 * (1 + below(random, 2));
        known.push_back({builder.add(node, operands, made), x.level + node->stride - 1});
      }
    }
  }
  std::vector<program::MapId> outputs{known.back().map};
  while (below(random, 3) == 0) outputs.push_back(known[below(random, known.size())].map);
  // As tall as can be checked quickly; few of the maps have an odd side, and then no other one.
  const Size size{64 * (1 + below(random, 3)), 4 * (1 + below(random, 2))};
  return {std::make_unique<program::Program>(builder.build(outputs)),
          std::vector<Size>(inputs, size)};
}

/// The outputs of a call, each of just its size.
using Outputs = std::vector<std::vector<float>>;

Outputs run(const Made& made, const std::vector<std::vector<float>>& inputs, std::size_t band_rows,
            unsigned threads) {
  const program::Graph& graph = made.program->graph();
  std::vector<program::Source> from;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    const std::size_t channels = graph.inputs[i];
    from.push_back(
        program::Array<const float>{inputs[i].data(), made.sizes[i].width * channels, channels, 1});
  }
  const std::vector<Size> sizes = made.program->output_sizes(made.sizes);
  Outputs outputs;
  std::vector<program::Target> to;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    const std::size_t channels = graph.outputs[i];
    outputs.emplace_back(sizes[i].height * sizes[i].width * channels, -1.0f);
    // As planes, for other strides.
    to.push_back(program::Array<float>{outputs.back().data(), sizes[i].width, 1,
                                       sizes[i].height * sizes[i].width});
  }
  made.program->run(made.sizes, from, to, band_rows, cpu::default_isa(), threads);
  return outputs;
}

void check_bands(std::mt19937& random) {
  const Made made = random_program(random);
  std::vector<Size> sizes;
  try {
    sizes = made.program->output_sizes(made.sizes);
  } catch (const std::invalid_argument&) {
    return;  // halved maps of odd width that were doubled again
  }
  std::vector<std::vector<float>> inputs;
  for (std::size_t i = 0; i < made.sizes.size(); ++i) {
    const Size size = made.sizes[i];
    inputs.emplace_back(size.height * size.width * made.program->graph().inputs[i]);
    for (float& x : inputs.back()) x = static_cast<float>(below(random, 64));
  }
  const Outputs expected = run(made, inputs, sizes[0].height, 1);
  for (const auto& output : expected) {
    for (const float x : output) CHECK(x >= 0 && x < 64);
  }
  for (const std::size_t rows :
       {std::size_t{1}, std::size_t{2}, 1 + below(random, sizes[0].height)}) {
    CHECK(run(made, inputs, rows, 1 + static_cast<unsigned>(below(random, 3))) == expected);
  }
  std::vector<std::thread> callers;
  for (std::size_t i = 0; i < 3; ++i) {
    callers.emplace_back([&, i] { CHECK(run(made, inputs, 1 + 3 * i, 2) == expected); });
  }
  for (std::thread& caller : callers) caller.join();
}

/// A map whose rows are the input's, and each of which is computed from rows around it.
struct Same final : program::Node {
  std::size_t above, under, align;

  Size output_size(const std::vector<Size>& inputs) const override { return inputs[0]; }
  Rows needs(std::size_t, Rows rows, const std::vector<Size>&, Size size) const override {
    return {rows.begin - std::min(rows.begin, above), std::min(size.height, rows.end + under)};
  }
  std::size_t stop(std::size_t end, Size output) const override {
    return std::min(output.height, (end + align - 1) / align * align);
  }
  void run(const program::Call& call, Rows rows) const override {
    if (call.bfloat16) {
      copy<std::uint16_t>(call, rows);
    } else {
      copy<float>(call, rows);
    }
  }
  template <class T>
  void copy(const program::Call& call, Rows rows) const {
    const auto from = call.inputs[0].map<const T>();
    const auto to = call.output.map<T>();
    for (std::size_t row = rows.begin; row < rows.end; ++row) {
      for (std::size_t column = 0; column < call.output_size.width; ++column) {
        for (std::size_t c = 0; c < call.output.channels; ++c) {
          to.data[row * to.row + column * to.pixel + c] =
              from.data[row * from.row + column * from.pixel + c];
        }
      }
    }
  }
  std::string kind() const override { return "same"; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return "same"; }
};

using Bytes = std::vector<std::uint8_t>;

/// A padded picture by a program that changes nothing, and back; by rows of functions or in memory.
/// The picture's padding is the input's or the output's or that of both.
void check_pictures(std::mt19937& random) {
  const Size size{1 + below(random, 40), 1 + below(random, 9)};
  const std::size_t left = below(random, 5), top = below(random, 20);
  const Size map{size.height + top + below(random, 20), size.width + left + below(random, 5)};
  program::Builder builder(below(random, 2) == 1);
  program::MapId x = builder.input(3);
  const std::size_t nodes = below(random, 3);
  for (std::size_t i = 0; i < nodes; ++i) {
    auto node = std::make_shared<Same>();
    node->above = below(random, 4);
    node->under = below(random, 4);
    node->align = 1 + below(random, 5);
    x = builder.add(node, {x}, 3);
  }
  // A part of a map of more channels.
  if (below(random, 2) == 1) x = builder.split(builder.concat({x, x}), 3, 3);
  const program::Program made(builder.build({x}));

  const bool input_padded = below(random, 3) != 0, output_padded = below(random, 3) != 0;
  const program::Frame picture{size, left, top}, whole{map};
  const program::Frame from = input_padded ? picture : whole;
  const program::Frame to = output_padded ? picture : whole;
  Bytes input(from.size.height * from.size.width * 3), output(to.size.height * to.size.width * 3);
  for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(random());

  const std::size_t from_row = from.size.width * 3, to_row = to.size.width * 3;
  std::size_t given = 0, taken = 0;
  program::Source source = program::Picture<const std::uint8_t>{input.data(), from_row, 3, 1, from};
  if (below(random, 2) == 1) {
    source = program::PictureRows<std::uint8_t>{
        [&](std::size_t first, std::size_t count, std::uint8_t* rows) {
          CHECK(first == given && count > 0);
          std::copy_n(input.begin() + static_cast<std::ptrdiff_t>(first * from_row),
                      count * from_row, rows);
          given = first + count;
        },
        from};
  }
  // As planes, or rows.
  const bool planes = below(random, 2) == 1;
  const std::size_t plane = to.size.height * to.size.width;
  program::Target target =
      planes ? program::Picture<std::uint8_t>{output.data(), to.size.width, 1, plane, to}
             : program::Picture<std::uint8_t>{output.data(), to_row, 3, 1, to};
  if (!planes && below(random, 2) == 1) {
    target = program::PictureRows<const std::uint8_t>{
        [&](std::size_t first, std::size_t count, const std::uint8_t* rows) {
          CHECK(first == taken && count > 0);
          std::copy_n(rows, count * to_row,
                      output.begin() + static_cast<std::ptrdiff_t>(first * to_row));
          taken = first + count;
        },
        to};
  }
  const auto threads = 1 + static_cast<unsigned>(below(random, 3));
  CHECK(made.run({map}, {source}, {target}, 1 + below(random, map.height), cpu::default_isa(),
                 threads));
  const auto nearest = [](std::size_t at, std::size_t padding, std::size_t count) {
    return std::min(std::max(at, padding) - padding, count - 1);
  };
  for (std::size_t row = 0; row < to.size.height; ++row) {
    for (std::size_t column = 0; column < to.size.width; ++column) {
      const std::size_t r = nearest(row + to.top, from.top, from.size.height);
      const std::size_t c = nearest(column + to.left, from.left, from.size.width);
      for (std::size_t k = 0; k < 3; ++k) {
        const std::size_t at = row * to.size.width + column;
        CHECK(output[planes ? k * plane + at : 3 * at + k] ==
              input[(r * from.size.width + c) * 3 + k]);
      }
    }
  }
}

/// A chain of convolutions' rows on a tall map needs memory for some rows only, and what has been
/// computed is not moved for nothing: a window holds a band and a halo.
void check_memory() {
  std::mt19937 random(1);
  program::Builder builder(false);
  program::MapId x = builder.input(8);
  for (int i = 0; i < 6; ++i) {
    auto node = std::make_shared<Sums>();
    node->above = node->under = 1;
    node->stride = node->align = 1;
    node->shift = 0;
    node->overwrites = false;
    x = builder.add(node, {x}, 8);
  }
  const program::Program made(builder.build({x}));
  const std::size_t row = 64 * 8 * sizeof(float);
  const std::vector<Size> size{{1000, 64}};
  // In one band two maps are needed at a time.
  CHECK(made.memory(size, 1000, cpu::Isa::kScalar, 1) == 2 * 1000 * row);
  // Of each map the band, two rows of halo, and at the top the halos of all that follow.
  CHECK(made.memory(size, 10, cpu::Isa::kScalar, 1) <= 7 * (10 + 2 + 6) * row);
}

/// Threads that ask for something at once get one of it, and where that fails the next one makes
/// it.
void check_once() {
  for (int i = 0; i < 50; ++i) {
    cpu::Once<std::vector<int>> once;
    std::atomic<int> tried{0}, failed{0}, made{0};
    const auto make = [&] {
      if (++tried == 1) throw std::runtime_error("the first one");
      ++made;
      return std::make_unique<const std::vector<int>>(3, 7);
    };
    CHECK(once.found() == nullptr);
    std::vector<std::thread> callers;
    for (int caller = 0; caller < 4; ++caller) {
      callers.emplace_back([&] {
        try {
          const std::vector<int>& found = once.get(make);
          CHECK(&found == once.found() && found.size() == 3 && found[2] == 7);
        } catch (const std::runtime_error&) {
          ++failed;
        }
      });
    }
    for (std::thread& caller : callers) caller.join();
    CHECK(made == 1 && failed == 1 && tried == 2);
  }
}

template <class Build>
void check_refused(const Build& build) {
  bool refused = false;
  try {
    build();
  } catch (const std::invalid_argument&) {
    refused = true;
  }
  CHECK(refused);
}

void check_refusals() {
  check_refused([] { program::Builder(false).input(0); });
  check_refused([] { program::Builder(false).split(0, 0, 1); });
  check_refused([] { program::Builder(false).concat({}); });
  check_refused([] { program::Builder(false).build({}); });
  check_refused([] { program::Builder(false).build({0}); });
  program::Builder builder(false);
  const program::MapId x = builder.input(3);
  check_refused([&] { builder.split(x, 1, 3); });
  check_refused([&] { builder.split(x, 1, 0); });
  check_refused([&] { builder.add(program::make_copy(), {x + 1}, 3); });
  check_refused([&] { builder.add(nullptr, {x}, 3); });
  const program::MapId half = builder.add(program::make_space_to_depth(2, false), {x}, 12);
  const program::Program made(builder.build({builder.concat({x, half})}));
  check_refused([&] { builder.input(1); });
  check_refused([&] { made.output_sizes({{4, 4}}); });  // parts of two sizes
  check_refused([&] { made.output_sizes({{3, 4}}); });
  check_refused([&] { made.output_sizes({}); });
  check_refused([&] { made.output_sizes({{0, 4}}); });
}

/// A node that asks for rows that it does not say it needs is found out.
void check_contradictions() {
  struct Wrong final : program::Node {
    Size output_size(const std::vector<Size>& inputs) const override { return inputs[0]; }
    Rows needs(std::size_t, Rows rows, const std::vector<Size>&, Size) const override {
      return {rows.begin > 3 ? rows.begin - 3 - rows.count() : 0, rows.end};
    }
    void run(const program::Call&, Rows) const override {}
    std::string kind() const override { return "wrong"; }
    std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return ""; }
  };
  program::Builder builder(false);
  const program::MapId x = builder.input(3);
  const program::Program made(builder.build({builder.add(std::make_shared<Wrong>(), {x}, 3)}));
  bool found = false;
  try {
    made.memory({{100, 4}}, 4, cpu::Isa::kScalar, 1);
  } catch (const std::logic_error&) {
    found = true;
  }
  CHECK(found);
}

}  // namespace

int main(int, char** arguments) {
  std::mt19937 random(1);
  for (int i = 0; i < 200; ++i) check_bands(random);
  for (int i = 0; i < 400; ++i) check_pictures(random);
  check_memory();
  check_once();
  check_refusals();
  check_contradictions();
  std::printf("%s: every check holds\n", arguments[0]);
  return 0;
}
