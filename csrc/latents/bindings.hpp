#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::latents {

/// Adds what lic_fast/ops/quantize.py calls.
void bind(pybind11::module_& module);

}  // namespace lic_fast::latents
