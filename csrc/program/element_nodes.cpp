// Norms of pixels, and operations on single numbers, by csrc/channels.

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

#include "channels/channels.hpp"
#include "program/nodes.hpp"

namespace lic_fast::program {
namespace {

using channels::Operation;

// Numbers of a row of dense maps, whose channels may be too few for whole vectors.
constexpr std::size_t kRun = 4096;

class ChannelsNode : public PixelNode {
 public:
  ChannelsNode(std::string kind, Operation operation, float number, const Norm& norm = {})
      : kind_(std::move(kind)), operation_(operation), number_(number), norm_(norm) {}

  bool in_place(std::size_t) const override { return true; }

  void run(const Call& call, Rows rows) const override {
    const std::size_t item = call.bfloat16 ? 2 : 4;
    const auto begin = [&](const View& view) {
      return view.data + (rows.begin - view.first) * view.row * item;
    };
    channels::Problem p{};
    p.operation = operation_;
    p.bfloat16 = call.bfloat16;
    p.rows = rows.count() * call.output_size.width;
    p.channels = call.output.channels;
    const std::array<channels::Rows*, 3> operands{&p.x, &p.y, &p.z};
    bool dense = call.output.pixel == p.channels && operation_ != Operation::kLayerNorm;
    for (std::size_t i = 0; i < call.inputs.size(); ++i) {
      *operands[i] = {begin(call.inputs[i]), call.inputs[i].pixel};
      dense = dense && call.inputs[i].pixel == p.channels;
    }
    p.out = begin(call.output);
    p.out_stride = call.output.pixel;
    p.weight = norm_.weight;
    p.bias = norm_.bias;
    p.number = number_;
    if (!dense) return compute(p, call.isa, call.threads);
    const std::size_t all = p.rows * p.channels, run = std::min(all, kRun);
    p.rows = all / run;
    p.channels = p.x.stride = p.y.stride = p.z.stride = p.out_stride = run;
    compute(p, call.isa, call.threads);
    const std::size_t done = p.rows * run * item;
    p.rows = 1;
    p.channels = all % run;
    for (channels::Rows* const operand : operands) {
      if (operand->data != nullptr) operand->data = static_cast<const char*>(operand->data) + done;
    }
    p.out = static_cast<char*>(p.out) + done;
    compute(p, call.isa, call.threads);
  }

  std::string kind() const override { return kind_; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa isa) const override {
    return cpu::name(std::min(isa, cpu::Isa::kAvx512));
  }

 private:
  const std::string kind_;
  const Operation operation_;
  const float number_;
  const Norm norm_;
};

struct Kind {
  const char* name;
  Operation operation;
};

constexpr Kind kUnary[] = {
    {"relu", Operation::kRelu},     {"leaky_relu", Operation::kLeakyRelu},
    {"gelu", Operation::kGelu},     {"sigmoid", Operation::kSigmoid},
    {"tanh", Operation::kTanh},     {"exp", Operation::kExp},
    {"square", Operation::kSquare}, {"sqrt", Operation::kRoot},
    {"abs", Operation::kAbsolute},  {"negate", Operation::kTimes},
    {"scale", Operation::kTimes},   {"shift", Operation::kPlus},
};
constexpr Kind kBinary[] = {
    {"add", Operation::kSum},         {"multiply", Operation::kMultiply},
    {"divide", Operation::kDivide},   {"subtract", Operation::kSubtract},
    {"maximum", Operation::kMaximum}, {"minimum", Operation::kMinimum},
};

template <std::size_t kCount>
std::unique_ptr<Node> make(const Kind (&kinds)[kCount], const std::string& name, float number) {
  std::string known;
  for (const Kind& kind : kinds) {
    if (name == kind.name) return std::make_unique<ChannelsNode>(name, kind.operation, number);
    known += std::string(known.empty() ? "" : ", ") + kind.name;
  }
  throw std::invalid_argument("the kind is '" + name + "'; it must be one of " + known);
}

}  // namespace

std::unique_ptr<Node> make_layer_norm(const Norm& norm) {
  if (norm.weight == nullptr || norm.bias == nullptr) {
    throw std::invalid_argument("a layer norm must have weight and bias");
  }
  return std::make_unique<ChannelsNode>("layer_norm", Operation::kLayerNorm, norm.epsilon, norm);
}

std::unique_ptr<Node> make_unary(const std::string& kind, float number) {
  return make(kUnary, kind, kind == "negate" ? -1.0f : number);
}

std::unique_ptr<Node> make_binary(const std::string& kind, float number) {
  return make(kBinary, kind, number);
}

std::unique_ptr<Node> make_gate() {
  return std::make_unique<ChannelsNode>("gate", Operation::kGate, 0.0f);
}

}  // namespace lic_fast::program
