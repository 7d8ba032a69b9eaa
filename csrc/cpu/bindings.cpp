// The Python face of the functions on memory.

#include "cpu/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

#include "cpu/arena.hpp"
#include "cpu/copy.hpp"
#include "cpu/samples.hpp"

namespace lic_fast::cpu {
namespace {

namespace py = pybind11;

/// Of pieces of memory, each an address and a number of bytes.
std::uint64_t hash_of_samples(const std::vector<std::pair<std::uintptr_t, std::size_t>>& pieces) {
  SampleHash hash;
  for (const auto& [address, bytes] : pieces) {
    hash.add(reinterpret_cast<const unsigned char*>(address), bytes);
  }
  return hash.result();
}

/// Memory for an array.
struct Memory {
  explicit Memory(std::size_t bytes)
      : bytes(bytes), arena(ArenaPool::maps, std::max(bytes, std::size_t{1})) {}

  const std::size_t bytes;
  const ArenaPool::Arena arena;
};

py::buffer_info buffer_of(const Memory& memory) {
  return {memory.arena.bytes(), static_cast<py::ssize_t>(memory.bytes)};
}

void copy_array(const py::array& from, py::array to, unsigned threads) {
  if (!from.dtype().is(to.dtype()) || from.ndim() != to.ndim()) {
    throw std::invalid_argument("the arrays must be of one type and one shape");
  }
  const auto item = static_cast<std::size_t>(from.itemsize());
  if (item != 1 && item != 2 && item != 4 && item != 8) {
    throw std::invalid_argument("numbers must be of 1, 2, 4 or 8 bytes");
  }
  std::vector<Dimension> dimensions;
  for (py::ssize_t i = 0; i < from.ndim(); ++i) {
    if (from.shape(i) != to.shape(i)) {
      throw std::invalid_argument("the arrays must be of one type and one shape");
    }
    if (from.strides(i) < 0 || to.strides(i) < 0) {
      throw std::invalid_argument("no dimension of an array may run backwards");
    }
    if (to.size() > 0 && to.strides(i) == 0 && to.shape(i) > 1) {
      throw std::invalid_argument("numbers of to overlap");
    }
    dimensions.push_back({static_cast<std::size_t>(from.shape(i)),
                          static_cast<std::size_t>(from.strides(i)),
                          static_cast<std::size_t>(to.strides(i))});
  }
  const void* const source = from.data();
  void* const target = to.mutable_data();
  const py::gil_scoped_release release;
  copy(std::move(dimensions), source, target, item, threads);
}

}  // namespace

void bind(py::module_& module) {
  py::class_<Memory>(module, "Memory", py::buffer_protocol(),
                     "Bytes for an array, from those that programs keep for the next call.")
      .def(py::init<std::size_t>(), py::arg("bytes"))
      .def_buffer(&buffer_of);
  module.def("copy", &copy_array, py::arg("source").noconvert(), py::arg("to").noconvert(),
             py::arg("threads"),
             "Copies an array to another one of its shape and type, in any order of dimensions; "
             "they do not overlap.");
  module.def(
      "hash_of_samples", &hash_of_samples, py::arg("pieces"),
      "64 bits that depend on sampled words of pieces of memory. A piece is an address and a "
      "number of bytes that may be read. See lic_fast.ops.stamp.");
}

}  // namespace lic_fast::cpu
