#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::cpu {

/// Adds the functions on the process's memory to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::cpu
