#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::tiles {

void bind(pybind11::module_& module);

}  // namespace lic_fast::tiles
