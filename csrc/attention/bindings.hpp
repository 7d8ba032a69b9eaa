#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::attention {

/// Adds what lic_fast/ops/window_attention.py calls.
void bind(pybind11::module_& module);

}  // namespace lic_fast::attention
