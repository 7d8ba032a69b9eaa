// Linear maps of pixels' channels, by csrc/linear.

#include <memory>
#include <stdexcept>
#include <vector>

#include "cpu/once.hpp"
#include "linear/linear.hpp"
#include "program/nodes.hpp"

namespace lic_fast::program {
namespace {

using linear::Products;

/// As lic_fast.ops.row_products.products_for.
Products products_for(bool bfloat16, cpu::Isa isa) {
  if (!bfloat16) return Products::kFloats;
  if (isa == cpu::Isa::kAmx) return Products::kTiles;
  if (isa >= cpu::Isa::kAvx512Vnni && linear::fast_pairs()) return Products::kPairs;
  return cpu::multiplies_words(isa) ? Products::kWords : Products::kFloats;
}

/// As lic_fast.ops.gdn: of squares as words, small ones disappear beside a large one.
Products products_of_squares(bool bfloat16, cpu::Isa isa) {
  const Products products = products_for(bfloat16, isa);
  return products == Products::kWords ? Products::kFloats : products;
}

std::string name(Products products) {
  switch (products) {
    case Products::kTiles:
      return "tiles";
    case Products::kPairs:
      return "pairs";
    case Products::kWords:
      return "words";
    default:
      return "floats";
  }
}

/// Weights, packed when they are first asked for, for each kind of products.
class Packed {
 public:
  Packed(const float* weight, const float* bias, std::size_t outputs, std::size_t inputs)
      : weight_(weight), bias_(bias), outputs_(outputs), inputs_(inputs) {
    if (weight == nullptr || outputs == 0 || inputs == 0) {
      throw std::invalid_argument("a linear map must have inputs and outputs");
    }
  }

  const linear::Weights& get(Products products) const {
    return packed_[static_cast<std::size_t>(products)].get([&] {
      const std::vector<float> none(bias_ == nullptr ? outputs_ : 0, 0.0f);
      return std::make_unique<const linear::Weights>(
          weight_, bias_ == nullptr ? none.data() : bias_, outputs_, inputs_, products);
    });
  }

 private:
  const float *weight_, *bias_;
  const std::size_t outputs_, inputs_;
  mutable cpu::Once<linear::Weights> packed_[4];
};

/// Where the pixels of rows from `first` on begin. The pixels of all rows are evenly apart.
template <class Data>
linear::Rows<Data> pixels(const View& view, std::size_t first, bool bfloat16) {
  const std::size_t item = bfloat16 ? 2 : 4;
  return {view.data + (first - view.first) * view.row * item, view.pixel};
}

linear::Problem problem_of(const Call& call, Rows rows, const linear::Weights& first,
                           const linear::Weights* second) {
  linear::Problem p{first, second, call.bfloat16, 0, {}, {}, {}, {}, {}, {}, {}, {}, 0};
  p.rows = rows.count() * call.output_size.width;
  p.x = pixels<const void>(call.inputs[0], rows.begin, call.bfloat16);
  p.out = pixels<void>(call.output, rows.begin, call.bfloat16);
  return p;
}

void set_residual(linear::Problem& p, const Call& call, Rows rows) {
  if (call.inputs.size() < 2) return;
  p.residual = pixels<const void>(call.inputs[1], rows.begin, call.bfloat16);
}

void set_norm(linear::Problem& p, const Norm& norm) {
  if (norm.weight == nullptr) return;
  p.before = linear::Before::kNorm;
  p.norm_weight = norm.weight;
  p.norm_bias = norm.bias;
  p.epsilon = norm.epsilon;
}

class LinearNode : public PixelNode {
 public:
  explicit LinearNode(const Linear& map)
      : map_(map), packed_(map.weight, map.bias, map.outputs, map.inputs) {}

  bool in_place(std::size_t input) const override { return input == 1; }
  void prepare(const std::vector<Size>&, bool bfloat16, cpu::Isa isa, unsigned) const override {
    packed_.get(products_for(bfloat16, isa));
  }
  void run(const Call& call, Rows rows) const override {
    linear::Problem p =
        problem_of(call, rows, packed_.get(products_for(call.bfloat16, call.isa)), nullptr);
    p.activation = map_.activation;
    set_norm(p, map_.norm);
    set_residual(p, call, rows);
    compute(p, call.isa, call.threads);
  }
  std::string kind() const override { return "linear"; }
  std::string kernel(const std::vector<Size>&, bool bfloat16, cpu::Isa isa) const override {
    return name(products_for(bfloat16, isa));
  }

 private:
  const Linear map_;
  const Packed packed_;
};

class FeedForwardNode : public PixelNode {
 public:
  explicit FeedForwardNode(const FeedForward& halves)
      : map_(halves.first),
        first_(map_.weight, map_.bias, map_.outputs, map_.inputs),
        second_(halves.weight, halves.bias, halves.outputs, map_.outputs) {}

  bool in_place(std::size_t input) const override { return input == 1; }
  void prepare(const std::vector<Size>&, bool bfloat16, cpu::Isa isa, unsigned) const override {
    first_.get(products_for(bfloat16, isa));
    second_.get(products_for(bfloat16, isa));
  }
  void run(const Call& call, Rows rows) const override {
    const Products products = products_for(call.bfloat16, call.isa);
    linear::Problem p = problem_of(call, rows, first_.get(products), &second_.get(products));
    p.activation = map_.activation;
    set_norm(p, map_.norm);
    set_residual(p, call, rows);
    compute(p, call.isa, call.threads);
  }
  std::string kind() const override { return "feed_forward"; }
  std::string kernel(const std::vector<Size>&, bool bfloat16, cpu::Isa isa) const override {
    return name(products_for(bfloat16, isa));
  }

 private:
  const Linear map_;
  const Packed first_, second_;
};

class GdnNode : public PixelNode {
 public:
  GdnNode(const float* gamma, const float* beta, std::size_t channels, bool inverse)
      : packed_(gamma, beta, channels, channels), inverse_(inverse) {}

  bool in_place(std::size_t) const override { return true; }
  void prepare(const std::vector<Size>&, bool bfloat16, cpu::Isa isa, unsigned) const override {
    packed_.get(products_of_squares(bfloat16, isa));
  }
  void run(const Call& call, Rows rows) const override {
    const Products products = products_of_squares(call.bfloat16, call.isa);
    linear::Problem p = problem_of(call, rows, packed_.get(products), nullptr);
    p.residual = p.x;
    p.before = linear::Before::kSquare;
    p.after = inverse_ ? linear::After::kTimesRoot : linear::After::kOverRoot;
    compute(p, call.isa, call.threads);
  }
  std::string kind() const override { return "gdn"; }
  std::string kernel(const std::vector<Size>&, bool bfloat16, cpu::Isa isa) const override {
    return name(products_of_squares(bfloat16, isa));
  }

 private:
  const Packed packed_;
  const bool inverse_;
};

}  // namespace

std::unique_ptr<Node> make_linear(const Linear& linear) {
  return std::make_unique<LinearNode>(linear);
}

std::unique_ptr<Node> make_feed_forward(const FeedForward& halves) {
  return std::make_unique<FeedForwardNode>(halves);
}

std::unique_ptr<Node> make_gdn(const float* gamma, const float* beta, std::size_t channels,
                               bool inverse) {
  return std::make_unique<GdnNode>(gamma, beta, channels, inverse);
}

}  // namespace lic_fast::program
