#pragma once

#include <pybind11/pybind11.h>

namespace lic_fast::integer {

/// Adds what lic_fast/ops/integer_*.py and lic_fast/ops/exact_*.py call.
void bind(pybind11::module_& module);

// Its parts.
void bind_layers(pybind11::module_& module);
void bind_elements(pybind11::module_& module);
void bind_transformer(pybind11::module_& module);
void bind_programs(pybind11::module_& module);

}  // namespace lic_fast::integer
