// Nodes of a program: operators on maps that compute any rows of their output.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "cpu/isa.hpp"
#include "cpu/map.hpp"

namespace lic_fast::program {

/// Rows begin to end - 1 of a map.
struct Rows {
  std::size_t begin = 0, end = 0;
  std::size_t count() const { return end - begin; }
};

/// Rows and columns of a map.
struct Size {
  std::size_t height = 0, width = 0;
};

/// Some rows of a map in memory, channels last.
struct View {
  char* data = nullptr;   // of channel 0 of the first pixel of row `first`
  std::size_t first = 0;  // row
  std::size_t row = 0;    // numbers from a row to the next
  std::size_t pixel = 0;  // numbers from a pixel to the next
  std::size_t channels = 0;

  /// The map as kernels take it, whose `data` is where row 0 would be: only rows that are in
  /// memory may be read or written.
  template <class T>
  cpu::Map<T> map() const {
    const auto address = reinterpret_cast<std::uintptr_t>(data) - first * row * sizeof(T);
    return {reinterpret_cast<T*>(address), 0, row, pixel};
  }
};

/// What a node is given to compute some rows.
struct Call {
  std::vector<View> inputs;
  std::vector<Size> input_sizes;  // of whole maps
  View output;
  Size output_size;
  bool bfloat16;  // whether numbers are std::uint16_t, or else float
  bool whole;     // whether the rows are all rows of the output
  cpu::Isa isa;
  unsigned threads;
};

/// An operator with its weights. A node may be run from several threads at once.
class Node {
 public:
  virtual ~Node() = default;

  /// Size of the output. Throws std::invalid_argument where the inputs' sizes do not fit.
  virtual Size output_size(const std::vector<Size>& inputs) const = 0;

  /// Rows of an input that rows of the output are computed from, within the input's.
  virtual Rows needs(std::size_t input, Rows rows, const std::vector<Size>& inputs,
                     Size output) const = 0;

  /// The least row from `end` on before which a band may end: the output's height, or such that the
  /// results do not depend on where bands end.
  virtual std::size_t stop(std::size_t end, Size output) const {
    static_cast<void>(output);
    return end;
  }

  /// Whether the output may lie where this input does, if nothing else reads that.
  virtual bool in_place(std::size_t input) const {
    static_cast<void>(input);
    return false;
  }

  /// Packs weights for maps of this size, once; before `run`, from any thread.
  virtual void prepare(const std::vector<Size>& inputs, bool bfloat16, cpu::Isa isa,
                       unsigned threads) const {
    static_cast<void>(inputs), static_cast<void>(bfloat16), static_cast<void>(isa);
    static_cast<void>(threads);
  }

  /// Computes rows of the output: those of a band, which begins and ends where `stop` says.
  virtual void run(const Call& call, Rows rows) const = 0;

  /// The operator's name, and that of the kernel that computes it for maps of this size.
  virtual std::string kind() const = 0;
  virtual std::string kernel(const std::vector<Size>& inputs, bool bfloat16,
                             cpu::Isa isa) const = 0;
};

}  // namespace lic_fast::program
