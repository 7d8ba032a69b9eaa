#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::integer {

/// Adds what lic_fast/ops/integer_conv2d.py calls.
void bind(pybind11::module_& module);

}  // namespace lic_fast::integer
