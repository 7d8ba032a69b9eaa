#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::tiles {

/// Adds the class `TileConvolution` to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::tiles
