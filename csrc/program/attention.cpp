#include "program/attention.hpp"

#include <memory>
#include <stdexcept>

#include "attention/window_attention.hpp"
#include "cpu/once.hpp"

namespace lic_fast::program {
namespace {

class AttentionNode final : public Node {
 public:
  explicit AttentionNode(const WindowAttention& attention) : attention_(attention) {
    const bool divides =
        attention.heads > 0 && attention.channels > 0 && attention.channels % attention.heads == 0;
    if (!divides) throw std::invalid_argument("the channels do not divide into the heads");
    if (attention.window < 1 || attention.window > attention::kMaxWindow ||
        attention.shift >= attention.window) {
      throw std::invalid_argument("the window or shift is too large");
    }
  }

  Size output_size(const std::vector<Size>& inputs) const override { return inputs.at(0); }

  Rows needs(std::size_t, Rows rows, const std::vector<Size>&, Size output) const override {
    const std::size_t window = attention_.window, shift = attention_.shift;
    const std::size_t begin = rows.begin < shift ? 0 : rows.begin - (rows.begin - shift) % window;
    return {begin, stop(rows.end, output)};
  }

  std::size_t stop(std::size_t end, Size output) const override {
    return attention::boundary(end, attention_.window, attention_.shift, output.height);
  }

  void prepare(const std::vector<Size>&, bool bfloat16, cpu::Isa isa, unsigned) const override {
    tables(bfloat16, isa);
  }

  void run(const Call& call, Rows rows) const override {
    const Size size = call.output_size;
    attention::Problem problem{
        tables(call.bfloat16, call.isa), 1, size.height, size.width, {}, {}, rows.begin, rows.end};
    if (call.bfloat16) {
      set<std::uint16_t>(call, problem);
    } else {
      set<float>(call, problem);
    }
    attention::window_attention(problem, call.threads);
  }

  std::string kind() const override { return "window_attention"; }

  std::string kernel(const std::vector<Size>&, bool bfloat16, cpu::Isa isa) const override {
    return cpu::name(attention::forward_isa(parameters(bfloat16), isa));
  }

 private:
  template <class T>
  static void set(const Call& call, attention::Problem& problem) {
    const auto qkv = call.inputs.at(0).map<const T>();
    const auto out = call.output.map<T>();
    problem.qkv = {qkv.data, qkv.image, qkv.row, qkv.pixel};
    problem.out = {out.data, out.image, out.row, out.pixel};
  }

  attention::Parameters parameters(bool bfloat16) const {
    const WindowAttention& a = attention_;
    return {a.heads,  a.channels / a.heads, a.window, a.shift, a.scale, a.mask_value,
            bfloat16, a.pad_value,          a.table};
  }

  /// Made when they are asked for first.
  const attention::Tables& tables(bool bfloat16, cpu::Isa isa) const {
    const attention::Parameters own = parameters(bfloat16);
    const auto set = static_cast<std::size_t>(attention::forward_isa(own, isa));
    return tables_[bfloat16 ? 1 : 0][set].get([&] {
      return std::make_unique<const attention::Tables>(own, isa, attention::Pass::kForward);
    });
  }

  const WindowAttention attention_;
  static constexpr std::size_t kSets = static_cast<std::size_t>(cpu::Isa::kAmx) + 1;
  mutable cpu::Once<attention::Tables> tables_[2][kSets];  // of float32 and bfloat16
};

}  // namespace

std::unique_ptr<Node> make_window_attention(const WindowAttention& attention) {
  return std::make_unique<AttentionNode>(attention);
}

}  // namespace lic_fast::program
