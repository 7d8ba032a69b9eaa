#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::direct {

/// Adds the class `DirectConvolution` to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::direct
