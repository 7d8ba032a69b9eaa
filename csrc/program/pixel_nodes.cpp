// Nodes that move pixels.

#include <algorithm>
#include <cstring>
#include <stdexcept>

#include "cpu/thread_pool.hpp"
#include "program/nodes.hpp"

namespace lic_fast::program {
namespace {

// Bytes of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 17;

char* pixel_at(const View& view, std::size_t row, std::size_t column, std::size_t item) {
  return view.data + ((row - view.first) * view.row + column * view.pixel) * item;
}

std::size_t item_of(const Call& call) { return call.bfloat16 ? 2 : 4; }

/// task(row) of rows of the output.
template <class Task>
void by_rows(const Call& call, Rows rows, const Task& task) {
  const std::size_t bytes = call.output_size.width * call.output.channels * item_of(call);
  const std::size_t each = kTask / std::max<std::size_t>(1, bytes) + 1;
  const std::size_t tasks = (rows.count() + each - 1) / each;
  cpu::ThreadPool::instance().run(tasks, call.threads, [&](std::size_t i) {
    const std::size_t begin = rows.begin + i * each, end = std::min(rows.end, begin + each);
    for (std::size_t row = begin; row < end; ++row) task(row);
  });
}

/// Runs of `bytes`, evenly apart.
void copy_runs(const char* from, std::size_t from_stride, char* to, std::size_t to_stride,
               std::size_t bytes, std::size_t count) {
  if (from_stride == bytes && to_stride == bytes) {
    std::memcpy(to, from, bytes * count);
    return;
  }
  for (std::size_t i = 0; i < count; ++i) {
    std::memcpy(to + i * to_stride, from + i * from_stride, bytes);
  }
}

class CopyNode : public PixelNode {
 public:
  void run(const Call& call, Rows rows) const override {
    const std::size_t item = item_of(call);
    const View &from = call.inputs[0], &to = call.output;
    by_rows(call, rows, [&](std::size_t row) {
      copy_runs(pixel_at(from, row, 0, item), from.pixel * item, pixel_at(to, row, 0, item),
                to.pixel * item, to.channels * item, call.output_size.width);
    });
  }
  std::string kind() const override { return "copy"; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return "copy"; }
};

class SpaceToDepthNode : public Node {
 public:
  SpaceToDepthNode(std::size_t r, bool columns_first) : r_(r), columns_first_(columns_first) {}

  Size output_size(const std::vector<Size>& inputs) const override {
    const Size size = inputs[0];
    if (size.height % r_ != 0 || size.width % r_ != 0) {
      throw std::invalid_argument("space_to_depth: " + std::to_string(size.height) + " x " +
                                  std::to_string(size.width) + " pixels are not blocks of " +
                                  std::to_string(r_) + " x " + std::to_string(r_));
    }
    return {size.height / r_, size.width / r_};
  }
  Rows needs(std::size_t, Rows rows, const std::vector<Size>&, Size) const override {
    return {rows.begin * r_, rows.end * r_};
  }
  void run(const Call& call, Rows rows) const override {
    const std::size_t item = item_of(call);
    const View &from = call.inputs[0], &to = call.output;
    const std::size_t bytes = from.channels * item;
    by_rows(call, rows, [&](std::size_t row) {
      for (std::size_t i = 0; i < r_; ++i) {
        for (std::size_t j = 0; j < r_; ++j) {
          const std::size_t block = columns_first_ ? j * r_ + i : i * r_ + j;
          copy_runs(pixel_at(from, row * r_ + i, j, item), r_ * from.pixel * item,
                    pixel_at(to, row, 0, item) + block * bytes, to.pixel * item, bytes,
                    call.output_size.width);
        }
      }
    });
  }
  std::string kind() const override { return "space_to_depth"; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return "copy"; }

 private:
  const std::size_t r_;
  const bool columns_first_;
};

class DepthToSpaceNode : public Node {
 public:
  explicit DepthToSpaceNode(std::size_t r) : r_(r) {}

  Size output_size(const std::vector<Size>& inputs) const override {
    return {inputs[0].height * r_, inputs[0].width * r_};
  }
  Rows needs(std::size_t, Rows rows, const std::vector<Size>&, Size) const override {
    return {rows.begin / r_, (rows.end + r_ - 1) / r_};
  }
  void run(const Call& call, Rows rows) const override {
    const std::size_t item = item_of(call);
    const View &from = call.inputs[0], &to = call.output;
    const std::size_t bytes = to.channels * item;
    by_rows(call, rows, [&](std::size_t row) {
      const std::size_t first = row % r_ * r_ * bytes;
      for (std::size_t j = 0; j < r_; ++j) {
        copy_runs(pixel_at(from, row / r_, 0, item) + first + j * bytes, from.pixel * item,
                  pixel_at(to, row, j, item), r_ * to.pixel * item, bytes,
                  call.output_size.width / r_);
      }
    });
  }
  std::string kind() const override { return "depth_to_space"; }
  std::string kernel(const std::vector<Size>&, bool, cpu::Isa) const override { return "copy"; }

 private:
  const std::size_t r_;
};

std::size_t checked(std::size_t r) {
  if (r == 0 || r > 64) throw std::invalid_argument("blocks must have sides of 1 to 64 pixels");
  return r;
}

}  // namespace

Size PixelNode::output_size(const std::vector<Size>& inputs) const {
  for (const Size& size : inputs) {
    if (size.height != inputs[0].height || size.width != inputs[0].width) {
      throw std::invalid_argument(kind() + ": the inputs must be of one size");
    }
  }
  return inputs[0];
}

Rows PixelNode::needs(std::size_t, Rows rows, const std::vector<Size>&, Size) const { return rows; }

std::unique_ptr<Node> make_copy() { return std::make_unique<CopyNode>(); }

std::unique_ptr<Node> make_space_to_depth(std::size_t r, bool columns_first) {
  return std::make_unique<SpaceToDepthNode>(checked(r), columns_first);
}

std::unique_ptr<Node> make_depth_to_space(std::size_t r) {
  return std::make_unique<DepthToSpaceNode>(checked(r));
}

}  // namespace lic_fast::program
