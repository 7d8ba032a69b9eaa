#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::linear {

/// Adds linear maps of rows to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::linear
