#include "program/convolution.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cpu/once.hpp"
#include "cpu/words.hpp"
#include "direct/convolution.hpp"
#include "linear/linear.hpp"
#include "tiles/convolution.hpp"
#include "winograd/winograd.hpp"

namespace lic_fast::program {
namespace {

// Products of a pixel below which Winograd's transforms outweigh what they save, inputs from which
// a 3x3 convolution to few outputs is faster, too, and pixels below which there are too few tiles
// for the products to be matrices'.
constexpr std::size_t kLeastProducts = 48 * 12, kWide = 48, kLeastPixels = 256;
// Winograd tiles up to which weights are transformed whenever they are used, which takes as long as
// a few tiles and a quarter of the memory.
constexpr std::size_t kFewTiles = 192;
// Inputs of a sum below which making words and numbers again outweighs their faster products.
constexpr std::size_t kLeastWords = 48;

/// How a convolution is computed.
enum class Form { kDirect, kLinear, kTiles, kWinograd, kCompactWinograd, kWinogradWords };

/// The map of a view, as kernels of any type take it.
cpu::Map<void> map_of(const View& view, bool bfloat16) {
  if (bfloat16) {
    const auto map = view.map<std::uint16_t>();
    return {map.data, map.image, map.row, map.pixel};
  }
  const auto map = view.map<float>();
  return {map.data, map.image, map.row, map.pixel};
}

template <class Data>
cpu::Map<Data> as(const cpu::Map<void>& map) {
  return {static_cast<Data*>(map.data), map.image, map.row, map.pixel};
}

/// The weights of a 5x5 convolution of stride 2, padded by 2, as those of a 3x3 one whose inputs
/// are those of the four pixels of each 2x2, (outputs, 2, 2, inputs, 3, 3).
std::vector<float> phased(const Convolution& c) {
  std::vector<float> wide(c.outputs * 4 * c.inputs * 9, 0.0f);
  for (std::size_t o = 0; o < c.outputs; ++o) {
    for (std::size_t i = 0; i < c.inputs; ++i) {
      for (std::size_t tap = 0; tap < 25; ++tap) {
        // Row 2 r + k - 2 is row r + (k - 2 - p) / 2 of phase p, the parity of k.
        const std::size_t row = tap / 5, column = tap % 5;
        const std::size_t phase = row % 2 * 2 + column % 2;
        wide[((o * 4 + phase) * c.inputs + i) * 9 + row / 2 * 3 + column / 2] =
            c.weight[(o * c.inputs + i) * 25 + tap];
      }
    }
  }
  return wide;
}

linear::Products products_for(bool bfloat16, cpu::Isa isa) {
  using linear::Products;
  if (!bfloat16) return Products::kFloats;
  if (isa == cpu::Isa::kAmx) return Products::kTiles;
  if (isa >= cpu::Isa::kAvx512Vnni && linear::fast_pairs()) return Products::kPairs;
  return cpu::multiplies_words(isa) ? Products::kWords : Products::kFloats;
}

class ConvolutionNode final : public Node {
 public:
  explicit ConvolutionNode(const Convolution& convolution) : c_(convolution) {
    const auto within = [](std::size_t x) { return x >= 1 && x <= direct::kMostTaps; };
    if (c_.weight == nullptr || c_.outputs == 0 || c_.inputs == 0) {
      throw std::invalid_argument("a convolution must have inputs and outputs");
    }
    if (!within(c_.kernel) || !within(c_.stride) || !within(c_.shuffle) ||
        c_.padding > direct::kMostTaps) {
      throw std::invalid_argument(
          "kernel, stride and shuffle of a convolution must be in 1..16, its padding in 0..16");
    }
    if (c_.outputs % (c_.shuffle * c_.shuffle) != 0) {
      throw std::invalid_argument("the outputs must be those of shuffle x shuffle pixels");
    }
    bias_.assign(c_.outputs, 0.0f);
    if (c_.bias != nullptr) std::copy_n(c_.bias, c_.outputs, bias_.begin());
  }

  Size output_size(const std::vector<Size>& inputs) const override {
    if (inputs.size() != (c_.residual ? 2 : 1)) {
      throw std::invalid_argument("a convolution has another number of inputs");
    }
    const Size own = own_size(inputs[0]);
    const Size size{own.height * c_.shuffle, own.width * c_.shuffle};
    if (c_.residual && (inputs[1].height != size.height || inputs[1].width != size.width)) {
      throw std::invalid_argument("a residual must have the size of what it is added to");
    }
    return size;
  }

  Rows needs(std::size_t input, Rows rows, const std::vector<Size>& inputs, Size) const override {
    if (input > 0) return rows;
    const Rows own = own_rows(rows);
    const std::size_t height = inputs[0].height;
    if (own.begin >= own.end) return {0, 0};
    const std::size_t begin = own.begin * c_.stride, end = (own.end - 1) * c_.stride + c_.kernel;
    // Winograd reads whole pairs of rows of stride 2.
    const std::size_t more = may_be_winograd() && c_.stride == 2 ? 1 : 0;
    const std::size_t first = std::min(begin - std::min(begin, c_.padding), height);
    const std::size_t last = end + more > c_.padding ? end + more - c_.padding : 0;
    return {first, std::clamp(last, first, height)};
  }

  std::size_t stop(std::size_t end, Size output) const override {
    const std::size_t step = c_.shuffle * (may_be_winograd() ? winograd_step() : 1);
    return std::min(output.height, (end + step - 1) / step * step);
  }

  bool in_place(std::size_t input) const override { return input == 1; }

  void prepare(const std::vector<Size>& inputs, bool bfloat16, cpu::Isa isa,
               unsigned threads) const override {
    switch (form(inputs[0], bfloat16, isa)) {
      case Form::kLinear:
        linear_weights(products_for(bfloat16, isa));
        break;
      case Form::kTiles:
        tile_weights();
        break;
      case Form::kWinograd:
      case Form::kCompactWinograd:
      case Form::kWinogradWords:
        winograd_weights(form(inputs[0], bfloat16, isa), threads);
        break;
      default:
        direct_weights();
    }
  }

  void run(const Call& call, Rows rows) const override {
    const Rows own = own_rows(rows);
    switch (form(call.input_sizes[0], call.bfloat16, call.isa)) {
      case Form::kLinear:
        return run_linear(call, own);
      case Form::kTiles:
        return run_tiles(call, own);
      case Form::kWinograd:
      case Form::kCompactWinograd:
      case Form::kWinogradWords:
        return run_winograd(call, own);
      default:
        return run_direct(call, own);
    }
  }

  std::string kind() const override { return "conv2d"; }

  std::string kernel(const std::vector<Size>& inputs, bool bfloat16, cpu::Isa isa) const override {
    switch (form(inputs[0], bfloat16, isa)) {
      case Form::kLinear:
        switch (products_for(bfloat16, isa)) {
          case linear::Products::kTiles:
            return "linear, AMX tiles";
          case linear::Products::kPairs:
            return "linear, bfloat16 pairs";
          case linear::Products::kWords:
            return "linear, int16";
          default:
            return "linear";
        }
      case Form::kTiles:
        return "AMX tiles";
      case Form::kWinograd:
        return "Winograd";
      case Form::kCompactWinograd:
        return "Winograd, compact weights";
      case Form::kWinogradWords:
        return "Winograd, int16";
      default:
        return "direct";
    }
  }

 private:
  /// Of the convolution's own output, before the shuffle.
  Size own_size(Size input) const {
    const std::size_t height = input.height + 2 * c_.padding, width = input.width + 2 * c_.padding;
    if (height < c_.kernel || width < c_.kernel) {
      throw std::invalid_argument("a convolution's kernel is larger than its map");
    }
    return {(height - c_.kernel) / c_.stride + 1, (width - c_.kernel) / c_.stride + 1};
  }
  Rows own_rows(Rows rows) const {
    return {rows.begin / c_.shuffle, (rows.end + c_.shuffle - 1) / c_.shuffle};
  }

  bool centred() const { return c_.kernel % 2 == 1 && c_.padding == c_.kernel / 2; }
  /// Rows of a Winograd tile.
  std::size_t winograd_step() const { return c_.kernel == 5 && c_.stride == 1 ? 2 : 4; }
  /// Whether maps of some size are computed by Winograd, on some CPU.
  bool may_be_winograd() const {
    const bool known = (c_.kernel == 3 && c_.stride == 1) || (c_.kernel == 5 && c_.stride <= 2);
    const bool enough =
        c_.inputs * c_.outputs >= kLeastProducts || (c_.kernel == 3 && c_.inputs >= kWide);
    return centred() && known && enough && c_.inputs % cpu::kPanel == 0;
  }

  /// How maps of this size are computed: it depends on whole maps and not on bands, so that
  /// results do not.
  Form form(Size size, bool bfloat16, cpu::Isa isa) const {
    const bool tiles = bfloat16 && isa == cpu::Isa::kAmx;
    if (c_.kernel == 1 && c_.stride == 1 && c_.padding == 0 && c_.shuffle == 1) {
      return Form::kLinear;
    }
    if (tiles && centred() && c_.stride <= 2) return Form::kTiles;
    const bool even = size.height % c_.stride == 0 && size.width % c_.stride == 0;
    const bool large = size.height * size.width >= kLeastPixels * c_.stride * c_.stride;
    const bool winograd = may_be_winograd() && even && large && isa >= cpu::Isa::kAvx2 && !tiles;
    if (!winograd) return Form::kDirect;
    if (bfloat16) {
      const bool words =
          c_.inputs * c_.stride * c_.stride >= kLeastWords && cpu::multiplies_words(isa);
      return words ? Form::kWinogradWords : Form::kWinograd;
    }
    const Size own = own_size(size);
    const std::size_t step = winograd_step();
    const std::size_t count = (own.height + step - 1) / step * ((own.width + step - 1) / step);
    return c_.compact || count <= kFewTiles ? Form::kCompactWinograd : Form::kWinograd;
  }

  const direct::Weights& direct_weights() const {
    return direct_.get([&] {
      return std::make_unique<const direct::Weights>(c_.weight, bias_.data(), c_.outputs, c_.inputs,
                                                     c_.kernel);
    });
  }
  const tiles::Weights& tile_weights() const {
    return tiles_.get([&] {
      return std::make_unique<const tiles::Weights>(c_.weight, bias_.data(), c_.outputs, c_.inputs,
                                                    c_.kernel);
    });
  }
  const linear::Weights& linear_weights(linear::Products products) const {
    return linear_[static_cast<std::size_t>(products)].get([&] {
      return std::make_unique<const linear::Weights>(c_.weight, bias_.data(), c_.outputs, c_.inputs,
                                                     products);
    });
  }
  const winograd::Weights& winograd_weights(Form form, unsigned threads) const {
    const std::size_t which = form == Form::kWinograd ? 0 : form == Form::kCompactWinograd ? 1 : 2;
    return winograd_[which].get([&] {
      const auto products =
          form == Form::kWinogradWords ? winograd::Products::kWords : winograd::Products::kFloats;
      const bool transformed = form != Form::kCompactWinograd;
      if (c_.stride == 1) {
        return std::make_unique<const winograd::Weights>(c_.weight, c_.outputs, c_.inputs,
                                                         c_.kernel, transformed, products, threads);
      }
      const std::vector<float> wide = phased(c_);
      return std::make_unique<const winograd::Weights>(wide.data(), c_.outputs, 4 * c_.inputs, 3,
                                                       transformed, products, threads);
    });
  }

  /// Sets a problem's maps of any type.
  template <class Problem>
  void set_maps(const Call& call, Problem& p) const {
    p.x = as<const void>(map_of(call.inputs[0], call.bfloat16));
    p.out = map_of(call.output, call.bfloat16);
    if (c_.residual) p.residual = as<const void>(map_of(call.inputs[1], call.bfloat16));
  }

  void run_direct(const Call& call, Rows rows) const {
    const Size size = call.input_sizes[0];
    direct::Problem p{direct_weights(),
                      call.bfloat16,
                      1,
                      size.height,
                      size.width,
                      c_.stride,
                      c_.padding,
                      c_.shuffle,
                      rows.begin,
                      rows.end,
                      {},
                      {},
                      {},
                      c_.activation};
    set_maps(call, p);
    direct::compute(p, call.isa, call.threads);
  }

  void run_winograd(const Call& call, Rows rows) const {
    const Size size = own_size(call.input_sizes[0]);
    const Form own = form(call.input_sizes[0], call.bfloat16, call.isa);
    winograd::Problem p{winograd_weights(own, call.threads),
                        bias_.data(),
                        call.bfloat16,
                        1,
                        size.height,
                        size.width,
                        c_.stride,
                        c_.shuffle,
                        {},
                        {},
                        {},
                        c_.activation,
                        rows.begin,
                        rows.end};
    set_maps(call, p);
    winograd::compute(p, call.isa, call.threads);
  }

  void run_tiles(const Call& call, Rows rows) const {
    const Size size = call.input_sizes[0];
    tiles::Problem p{tile_weights(), 1,       size.height, size.width, c_.stride,
                     c_.shuffle,     {},      {},          {},         c_.activation,
                     rows.begin,     rows.end};
    p.x = as<const std::uint16_t>(map_of(call.inputs[0], true));
    p.out = as<std::uint16_t>(map_of(call.output, true));
    if (c_.residual) p.residual = as<const std::uint16_t>(map_of(call.inputs[1], true));
    tiles::compute(p, call.threads);
  }

  void run_linear(const Call& call, Rows rows) const {
    const std::size_t width = call.output_size.width, item = call.bfloat16 ? 2 : 4;
    linear::Problem p{linear_weights(products_for(call.bfloat16, call.isa)),
                      nullptr,
                      call.bfloat16,
                      rows.count() * width,
                      {},
                      {},
                      {},
                      linear::Before::kNothing,
                      linear::After::kActivation,
                      c_.activation,
                      nullptr,
                      nullptr,
                      0.0f};
    // All rows of a program's maps lie evenly apart, and so do their pixels.
    const auto pixels = [&](const View& view) {
      return view.data + (rows.begin - view.first) * view.row * item;
    };
    p.x = {pixels(call.inputs[0]), call.inputs[0].pixel};
    p.out = {pixels(call.output), call.output.pixel};
    if (c_.residual) p.residual = {pixels(call.inputs[1]), call.inputs[1].pixel};
    linear::compute(p, call.isa, call.threads);
  }

  const Convolution c_;
  std::vector<float> bias_;
  mutable cpu::Once<direct::Weights> direct_;
  mutable cpu::Once<tiles::Weights> tiles_;
  mutable cpu::Once<linear::Weights> linear_[4];
  mutable cpu::Once<winograd::Weights> winograd_[3];
};

}  // namespace

std::unique_ptr<Node> make_convolution(const Convolution& convolution) {
  return std::make_unique<ConvolutionNode>(convolution);
}

}  // namespace lic_fast::program
