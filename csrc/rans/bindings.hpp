#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::rans {

/// Adds the classes and functions of lic_fast/rans.py. Needs those of lic_fast::ans.
void bind(pybind11::module_& module);

}  // namespace lic_fast::rans
