#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::channels {

/// Adds the operators on rows of channels to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::channels
