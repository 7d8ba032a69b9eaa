#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::ans {

/// Adds what lic_fast.ans exports.
void bind(pybind11::module_& module);

}  // namespace lic_fast::ans
