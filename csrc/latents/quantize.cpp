#include "latents/quantize.hpp"

#include <array>

#include "latents/kernels.hpp"

namespace lic_fast::latents {
namespace {

void find(const ScaleTable& table, const Kernels& kernels, const float* scales, std::size_t count,
          std::uint8_t* indexes) {
  if (const Buckets* buckets = table.buckets()) {
    kernels.find_indexes(*buckets, scales, count, indexes);
  } else {
    for (std::size_t i = 0; i < count; ++i) indexes[i] = table.index(scales[i]);
  }
}

}  // namespace

template <class Symbol>
float quantize(const Tensors<3>& tensors, const ScaleTable& table, cpu::Isa isa, unsigned threads,
               Symbol* symbols, std::uint8_t* indexes, float* y_hat) {
  const Kernels& chosen = kernels(isa);
  const Round<Symbol> round = chosen.round(symbols);
  const std::uint32_t peak = for_each_row(
      tensors, chosen, threads,
      [&](const std::array<const float*, 3>& row, std::size_t place, std::size_t count) {
        find(table, chosen, row[2], count, indexes + place);
        return round(row[0], row[1], count, symbols + place, y_hat + place);
      });
  return float_of(peak);
}

void scale_index(const Tensors<1>& scale, const ScaleTable& table, cpu::Isa isa, unsigned threads,
                 std::uint8_t* indexes) {
  const Kernels& chosen = kernels(isa);
  for_each_row(scale, chosen, threads,
               [&](const std::array<const float*, 1>& row, std::size_t place, std::size_t count) {
                 find(table, chosen, row[0], count, indexes + place);
                 return 0u;
               });
}

template <class Symbol>
void dequantize(const Symbol* symbols, const Tensors<1>& mean, cpu::Isa isa, unsigned threads,
                float* y_hat) {
  const Kernels& chosen = kernels(isa);
  const Add<Symbol> add = chosen.add(symbols);
  for_each_row(mean, chosen, threads,
               [&](const std::array<const float*, 1>& row, std::size_t place, std::size_t count) {
                 add(symbols + place, row[0], count, y_hat + place);
                 return 0u;
               });
}

template float quantize(const Tensors<3>&, const ScaleTable&, cpu::Isa, unsigned, std::int16_t*,
                        std::uint8_t*, float*);
template float quantize(const Tensors<3>&, const ScaleTable&, cpu::Isa, unsigned, std::int32_t*,
                        std::uint8_t*, float*);
template void dequantize(const std::int16_t*, const Tensors<1>&, cpu::Isa, unsigned, float*);
template void dequantize(const std::int32_t*, const Tensors<1>&, cpu::Isa, unsigned, float*);

}  // namespace lic_fast::latents
