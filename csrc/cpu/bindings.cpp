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

#include "cpu/copy.hpp"
#include "cpu/memory.hpp"
#include "cpu/thread_pool.hpp"

namespace lic_fast::cpu {
namespace {

namespace py = pybind11;

/// Of each piece of memory.
std::vector<std::uint64_t> digests_of(
    const std::vector<std::pair<std::uintptr_t, std::size_t>>& pieces, unsigned threads) {
  const py::gil_scoped_release release;
  constexpr std::size_t kRun = std::size_t{1} << 18;  // bytes of a task
  std::vector<std::pair<std::uintptr_t, std::size_t>> runs;
  std::vector<std::size_t> first;  // run of each piece
  for (const auto& [address, bytes] : pieces) {
    first.push_back(runs.size());
    for (std::size_t begin = 0; begin < bytes; begin += kRun) {
      runs.emplace_back(address + begin, std::min(kRun, bytes - begin));
    }
  }
  first.push_back(runs.size());
  std::vector<std::uint64_t> parts(runs.size());
  // Each task has a stretch of about equal length: the processor reads on ahead across its runs.
  std::size_t bytes = 0;
  for (const auto& piece : pieces) bytes += piece.second;
  const std::size_t stretch = std::max(kRun, bytes / (4 * std::size_t{std::max(threads, 1u)}));
  std::vector<std::size_t> begins{0};
  for (std::size_t i = 0, length = 0; i < runs.size(); ++i) {
    length += runs[i].second;
    if (length >= stretch || i + 1 == runs.size()) {
      begins.push_back(i + 1);
      length = 0;
    }
  }
  ThreadPool::instance().run(begins.size() - 1, threads, [&](std::size_t task) {
    for (std::size_t i = begins[task]; i < begins[task + 1]; ++i) {
      parts[i] = digest(reinterpret_cast<const unsigned char*>(runs[i].first), runs[i].second);
    }
  });
  std::vector<std::uint64_t> whole;
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
    whole.push_back(digest(reinterpret_cast<const unsigned char*>(parts.data() + first[piece]),
                           (first[piece + 1] - first[piece]) * sizeof(std::uint64_t)));
  }
  return whole;
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
  module.def("copy", &copy_array, py::arg("source").noconvert(), py::arg("to").noconvert(),
             py::arg("threads"),
             "Copies an array to another one of its shape and type, in any order of dimensions; "
             "they do not overlap. See lic_fast.ops.copies.");
  module.def(
      "digests", &digests_of, py::arg("pieces"), py::arg("threads") = 1,
      "64 bits for each piece of memory that tell its contents apart from others. A piece is an "
      "address and a number of bytes that may be read.");
}

}  // namespace lic_fast::cpu
