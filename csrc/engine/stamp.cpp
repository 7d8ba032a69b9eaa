// Stamps of tensors in the CPU's memory; see lic_fast/ops/stamp.py.

#include <pybind11/pybind11.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cpu/samples.hpp"
#include "engine/bindings.hpp"

namespace lic_fast::engine {
namespace {

namespace py = pybind11;

/// What tensors were when it was made, and whether they still are. It keeps them alive.
class TensorStamp {
 public:
  /// Of dense strided tensors with version counters, in the CPU's memory.
  explicit TensorStamp(const py::list& tensors) {
    cpu::SampleHash hash;
    for (const py::handle handle : tensors) {
      Entry entry;
      entry.tensor = py::reinterpret_borrow<py::object>(handle);
      for (std::size_t i = 0; i < kForms.size(); ++i) entry.forms[i] = form(handle.ptr(), i);
      entry.bytes = entry.tensor.attr("nbytes").cast<std::size_t>();
      hash.add(memory(entry.forms[0].ptr()), entry.bytes);
      entries_.push_back(std::move(entry));
    }
    hash_ = hash.result();
  }

  /// Whether no tensor has other memory, another form or version, or other sampled words.
  bool holds() const {
    cpu::SampleHash hash;
    for (const Entry& entry : entries_) {
      for (std::size_t i = 0; i < kForms.size(); ++i) {
        const py::object found = form(entry.tensor.ptr(), i);
        if (found.ptr() == entry.forms[i].ptr()) continue;
        const int same = PyObject_RichCompareBool(found.ptr(), entry.forms[i].ptr(), Py_EQ);
        if (same < 0) throw py::error_already_set();
        if (same == 0) return false;
      }
      hash.add(memory(entry.forms[0].ptr()), entry.bytes);
    }
    return hash.result() == hash_;
  }

 private:
  /// An attribute, or what a method without arguments gives.
  struct Form {
    const char* name;
    bool method;
  };
  static constexpr std::array<Form, 5> kForms{{{"data_ptr", true},
                                               {"_version", false},
                                               {"shape", false},
                                               {"dtype", false},
                                               {"stride", true}}};
  struct Entry {
    py::object tensor;
    std::array<py::object, kForms.size()> forms;
    std::size_t bytes = 0;
  };

  static const unsigned char* memory(PyObject* address) {
    return static_cast<const unsigned char*>(PyLong_AsVoidPtr(address));
  }

  static py::object form(PyObject* tensor, std::size_t i) {
    PyObject* const name = interned(i);
    PyObject* const found =
        kForms[i].method ? PyObject_CallMethodNoArgs(tensor, name) : PyObject_GetAttr(tensor, name);
    if (found == nullptr) throw py::error_already_set();
    return py::reinterpret_steal<py::object>(found);
  }

  /// The name as an object that lives as long as the process.
  static PyObject* interned(std::size_t i) {
    static const auto names = [] {
      std::array<PyObject*, kForms.size()> made{};
      for (std::size_t k = 0; k < made.size(); ++k) {
        made[k] = PyUnicode_InternFromString(kForms[k].name);
        if (made[k] == nullptr) throw py::error_already_set();
      }
      return made;
    }();
    return names[i];
  }

  std::vector<Entry> entries_;
  std::uint64_t hash_ = 0;
};

}  // namespace

void bind_stamps(py::module_& module) {
  py::class_<TensorStamp>(module, "TensorStamp",
                          "The stamp of dense tensors with version counters on the CPU; see "
                          "lic_fast.ops.stamp.")
      .def(py::init<const py::list&>(), py::arg("tensors"))
      .def("holds", &TensorStamp::holds, "Whether they have not been written to since.");
}

}  // namespace lic_fast::engine
