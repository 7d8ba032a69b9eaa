#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::program {

/// Adds programs and their builder to the module.
void bind(pybind11::module_& module);

}  // namespace lic_fast::program
