// The Python face of the functions on memory.

#include "cpu/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>

#include "cpu/memory.hpp"

namespace lic_fast::cpu {
namespace {

namespace py = pybind11;

std::uint64_t digest_of(const py::array& array) {
  if ((array.flags() & py::array::c_style) == 0) {
    throw std::invalid_argument("the array is not contiguous");
  }
  const auto* const data = static_cast<const unsigned char*>(array.data());
  const auto bytes = static_cast<std::size_t>(array.nbytes());
  const py::gil_scoped_release release;
  return digest(data, bytes);
}

}  // namespace

void bind(py::module_& module) {
  module.def("set_malloc_thresholds", &set_malloc_thresholds, py::arg("map_from"), py::arg("keep"),
             "Sizes in bytes; see lic_fast.ops.memory. False where malloc is not glibc's.");
  module.def("release_freed_memory", &release_freed_memory,
             "Gives freed memory back to the system, where malloc is glibc's.");
  module.def("digest", &digest_of, py::arg("array").noconvert(),
             "64 bits that tell the contents of contiguous arrays apart.");
}

}  // namespace lic_fast::cpu
