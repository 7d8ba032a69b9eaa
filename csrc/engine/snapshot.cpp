// Snapshots of modules: what their attributes and classes hold, compared later by identity.

#include <Python.h>
#include <pybind11/pybind11.h>

#include <cstddef>
#include <unordered_set>
#include <vector>

#include "engine/bindings.hpp"

namespace lic_fast::engine {
namespace {

namespace py = pybind11;

enum class Kind {
  kObject,    // the same object, which is kept alive
  kWeak,      // the same object, which must still live
  kScalar,    // the same object, or a number or text that equals it
  kSequence,  // a list or tuple of as many items, which follow
  kDict,      // a dict of as many keys and values, which follow in turn
  kSet,       // a set of as many items, which follow
};

/// One value of a snapshot. Containers are followed by what they hold.
struct Item {
  PyObject* object;     // its type, of containers; not counted if the reference is weak
  PyObject* reference;  // what keeps the object alive, or a weak reference
  Kind kind;
  Py_ssize_t count;
};

// Containers deeper than this are compared as objects.
constexpr int kDepth = 5;

PyObject* target(PyObject* weak) {
#if PY_VERSION_HEX >= 0x030D0000
  PyObject* object = nullptr;
  if (PyWeakref_GetRef(weak, &object) != 1) return nullptr;
  Py_DECREF(object);  // only its address is of interest
  return object;
#else
  return PyWeakref_GetObject(weak);
#endif
}

PyObject* attributes_of(PyTypeObject* type) {
#if PY_VERSION_HEX >= 0x030C0000
  return PyType_GetDict(type);
#else
  Py_XINCREF(type->tp_dict);
  return type->tp_dict;
#endif
}

bool is_scalar(PyObject* object) {
  return PyLong_CheckExact(object) || PyFloat_CheckExact(object) || PyUnicode_CheckExact(object) ||
         PyBytes_CheckExact(object) || PyComplex_CheckExact(object);
}

class Snapshot {
 public:
  /// Of the modules' attributes and of their classes', and of what the dicts hold. It keeps what
  /// is of the given type alive.
  Snapshot(const py::list& modules, const py::list& dicts, const py::type& owned)
      : owned_(owned.ptr()) {
    std::unordered_set<PyTypeObject*> known;
    for (const py::handle module : modules) {
      modules_.push_back(weak(module.ptr()));
      const auto attributes =
          py::reinterpret_steal<py::object>(PyObject_GenericGetDict(module.ptr(), nullptr));
      if (!attributes) throw py::error_already_set();
      record(reinterpret_cast<PyObject*>(Py_TYPE(module.ptr())), kDepth);
      record(attributes.ptr(), 0);
      PyObject* const mro = Py_TYPE(module.ptr())->tp_mro;
      for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); ++i) {
        auto* const type = reinterpret_cast<PyTypeObject*>(PyTuple_GET_ITEM(mro, i));
        if (type != &PyBaseObject_Type && known.insert(type).second) {
          types_.push_back(weak(reinterpret_cast<PyObject*>(type)));
        }
      }
    }
    for (const Item& type : types_) {
      const auto attributes = py::reinterpret_steal<py::object>(
          attributes_of(reinterpret_cast<PyTypeObject*>(type.object)));
      record(attributes.ptr(), kDepth - 1);
    }
    for (const py::handle dict : dicts) {
      if (!PyDict_Check(dict.ptr())) throw py::type_error("the second list must hold dicts");
      dicts_.push_back(kept(dict.ptr()));
      record(dict.ptr(), 0);
    }
  }
  Snapshot(const Snapshot&) = delete;
  ~Snapshot() {
    for (const auto* items : {&modules_, &types_, &dicts_, &items_}) {
      for (const Item& item : *items) Py_XDECREF(item.reference);
    }
  }

  /// Whether all is as it was.
  bool holds() const {
    const Item* at = items_.data();
    for (const Item& module : modules_) {
      if (target(module.reference) != module.object) return false;
      if (!matches(reinterpret_cast<PyObject*>(Py_TYPE(module.object)), at)) return false;
      PyObject* const attributes = PyObject_GenericGetDict(module.object, nullptr);
      if (attributes == nullptr) {
        PyErr_Clear();
        return false;
      }
      const bool same = matches(attributes, at);
      Py_DECREF(attributes);
      if (!same) return false;
    }
    for (const Item& type : types_) {
      if (target(type.reference) != type.object) return false;
      PyObject* const attributes = attributes_of(reinterpret_cast<PyTypeObject*>(type.object));
      const bool same = matches(attributes, at);
      Py_DECREF(attributes);
      if (!same) return false;
    }
    for (const Item& dict : dicts_) {
      if (!matches(dict.object, at)) return false;
    }
    return true;
  }

 private:
  static Item kept(PyObject* object) {
    Py_INCREF(object);
    return {object, object, Kind::kObject, 0};
  }

  /// A module in a snapshot must not live for as long as that does.
  static Item weak(PyObject* object) {
    PyObject* const reference = PyWeakref_NewRef(object, nullptr);
    if (reference != nullptr) return {object, reference, Kind::kWeak, 0};
    PyErr_Clear();
    return kept(object);
  }

  static Item container(PyObject* object, Kind kind, Py_ssize_t count) {
    Item item = kept(reinterpret_cast<PyObject*>(Py_TYPE(object)));
    item.kind = kind;
    item.count = count;
    return item;
  }

  void record(PyObject* object, int depth) {
    if (is_scalar(object)) {
      items_.push_back(kept(object));
      items_.back().kind = Kind::kScalar;
    } else if (depth < kDepth && (PyList_Check(object) || PyTuple_Check(object))) {
      const Py_ssize_t count = PySequence_Fast_GET_SIZE(object);
      items_.push_back(container(object, Kind::kSequence, count));
      for (Py_ssize_t i = 0; i < count; ++i) {
        record(PySequence_Fast_GET_ITEM(object, i), depth + 1);
      }
    } else if (depth < kDepth && PyDict_Check(object)) {
      items_.push_back(container(object, Kind::kDict, PyDict_GET_SIZE(object)));
      PyObject *key, *value;
      for (Py_ssize_t i = 0; PyDict_Next(object, &i, &key, &value);) {
        record(key, kDepth);
        record(value, depth + 1);
      }
    } else if (depth < kDepth && PyAnySet_Check(object) && only_scalars(object)) {
      items_.push_back(container(object, Kind::kSet, PySet_GET_SIZE(object)));
      for (const py::handle item : py::reinterpret_borrow<py::object>(object)) {
        record(item.ptr(), kDepth);
      }
    } else {
      items_.push_back(PyObject_TypeCheck(object, owned_type()) ? kept(object) : weak(object));
    }
  }

  PyTypeObject* owned_type() const { return reinterpret_cast<PyTypeObject*>(owned_); }

  static bool only_scalars(PyObject* set) {
    for (const py::handle item : py::reinterpret_borrow<py::object>(set)) {
      if (!is_scalar(item.ptr())) return false;
    }
    return true;
  }

  /// Whether what was recorded at `at` is as it was; moves on behind it if so.
  static bool matches(PyObject* found, const Item*& at) {
    const Item& item = *at++;
    switch (item.kind) {
      case Kind::kObject:
        return found == item.object;
      case Kind::kWeak:
        return found == item.object && target(item.reference) == found;
      case Kind::kScalar:
        return found == item.object || equal(found, item.object);
      case Kind::kSequence:
        if (!is(found, item) || PySequence_Fast_GET_SIZE(found) != item.count) return false;
        for (Py_ssize_t i = 0; i < item.count; ++i) {
          if (!matches(PySequence_Fast_GET_ITEM(found, i), at)) return false;
        }
        return true;
      case Kind::kDict: {
        if (!is(found, item) || PyDict_GET_SIZE(found) != item.count) return false;
        PyObject *key, *value;
        for (Py_ssize_t i = 0; PyDict_Next(found, &i, &key, &value);) {
          if (!matches(key, at) || !matches(value, at)) return false;
        }
        return true;
      }
      case Kind::kSet:
        if (!is(found, item) || PySet_GET_SIZE(found) != item.count) return false;
        for (Py_ssize_t i = 0; i < item.count; ++i) {
          if (PySet_Contains(found, (at++)->object) != 1) {
            PyErr_Clear();
            return false;
          }
        }
        return true;
    }
    return false;
  }

  static bool is(PyObject* found, const Item& item) {
    return reinterpret_cast<PyObject*>(Py_TYPE(found)) == item.object;
  }

  /// Of numbers and texts: no Python code runs.
  static bool equal(PyObject* x, PyObject* y) {
    if (Py_TYPE(x) != Py_TYPE(y)) return false;
    const int same = PyObject_RichCompareBool(x, y, Py_EQ);
    if (same < 0) PyErr_Clear();
    return same == 1;
  }

  PyObject* const owned_;  // of use while the snapshot is taken
  std::vector<Item> modules_, types_, dicts_;
  std::vector<Item> items_;
};

}  // namespace

void bind(py::module_& module) {
  py::class_<Snapshot>(module, "Snapshot",
                       "What modules and dicts hold: attributes, and those of the modules' "
                       "classes, by identity; numbers, texts and containers by value. Objects of "
                       "the type `owned` live as long as it, no others do.")
      .def(py::init<const py::list&, const py::list&, const py::type&>(), py::arg("modules"),
           py::arg("dicts"), py::arg("owned"))
      .def("holds", &Snapshot::holds, "Whether all is as it was when the snapshot was taken.");
  bind_stamps(module);
}

}  // namespace lic_fast::engine
