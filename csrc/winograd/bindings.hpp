#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::winograd {

/// Adds the class `Winograd` to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::winograd
