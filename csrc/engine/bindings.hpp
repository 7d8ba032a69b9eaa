// Python bindings of what the engine of programs needs of CPython.

#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::engine {

void bind(pybind11::module_& module);
void bind_stamps(pybind11::module_& module);

}  // namespace lic_fast::engine
