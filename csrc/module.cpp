// The extension module lic_fast._C.

#include <pybind11/pybind11.h>

#include "ans/bindings.hpp"
#include "attention/bindings.hpp"
#include "cpu/bindings.hpp"
#include "direct/bindings.hpp"
#include "engine/bindings.hpp"
#include "integer/bindings.hpp"
#include "latents/bindings.hpp"
#include "linear/bindings.hpp"
#include "program/bindings.hpp"
#include "rans/bindings.hpp"
#include "tiles/bindings.hpp"
#include "winograd/bindings.hpp"

PYBIND11_MODULE(_C, module) {
  module.doc() = "The compiled parts of lic_fast; use them through lic_fast.ans and lic_fast.rans.";
  lic_fast::ans::bind(module);
  lic_fast::attention::bind(module);
  lic_fast::cpu::bind(module);
  lic_fast::direct::bind(module);
  lic_fast::engine::bind(module);
  lic_fast::integer::bind(module);
  lic_fast::latents::bind(module);
  lic_fast::rans::bind(module);
  lic_fast::linear::bind(module);
  lic_fast::program::bind(module);
  lic_fast::tiles::bind(module);
  lic_fast::winograd::bind(module);
}
