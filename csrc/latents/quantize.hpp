// Latents to symbols, indexes and y-hat, in one pass over memory.
//
// lic_fast/ops/quantize.py has the definitions. Results lie dense, in the order of the dimensions;
// the tensors need not.

#pragma once

#include <cstddef>
#include <cstdint>

#include "cpu/isa.hpp"
#include "latents/layout.hpp"
#include "latents/scale_table.hpp"

namespace lic_fast::latents {

/// Of y, mean and scale. Returns the largest |symbol|: if that is a NaN, or no Symbol, the symbols
/// are not those of y.
template <class Symbol>
float quantize(const Tensors<3>& tensors, const ScaleTable& table, cpu::Isa isa, unsigned threads,
               Symbol* symbols, std::uint8_t* indexes, float* y_hat);

void scale_index(const Tensors<1>& scale, const ScaleTable& table, cpu::Isa isa, unsigned threads,
                 std::uint8_t* indexes);

/// y_hat = symbols + mean, of dense symbols.
template <class Symbol>
void dequantize(const Symbol* symbols, const Tensors<1>& mean, cpu::Isa isa, unsigned threads,
                float* y_hat);

}  // namespace lic_fast::latents
