// The Python face of the operators on latents: arrays in, checked, and out.

#include "latents/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>

#include "cpu/isa.hpp"
#include "latents/quantize.hpp"

namespace lic_fast::latents {
namespace {

namespace py = pybind11;
using Strided = py::array_t<float, 0>;
template <class T>
using Dense = py::array_t<T, py::array::c_style>;
using IsaName = std::optional<std::string>;

void check_shape(const py::array& array, const py::array& like, const char* name) {
  bool same = array.ndim() == like.ndim();
  for (py::ssize_t d = 0; same && d < array.ndim(); ++d) same = array.shape(d) == like.shape(d);
  if (!same) throw std::invalid_argument(std::string(name) + " has another shape");
}

template <std::size_t N>
Tensors<N> tensors_of(const std::array<const Strided*, N>& arrays) {
  constexpr auto kFloat = static_cast<py::ssize_t>(sizeof(float));
  Tensors<N> tensors{};
  const Strided& first = *arrays[0];
  tensors.dimensions.resize(static_cast<std::size_t>(first.ndim()));
  for (std::size_t i = 0; i < N; ++i) {
    check_shape(*arrays[i], first, "an operand");
    tensors.data[i] = arrays[i]->data();
    bool aligned = reinterpret_cast<std::uintptr_t>(tensors.data[i]) % sizeof(float) == 0;
    for (py::ssize_t d = 0; d < first.ndim(); ++d) {
      aligned = aligned && arrays[i]->strides(d) % kFloat == 0;
      auto& dimension = tensors.dimensions[static_cast<std::size_t>(d)];
      dimension.size = static_cast<std::size_t>(first.shape(d));
      dimension.strides[i] = arrays[i]->strides(d) / kFloat;
    }
    if (!aligned) throw std::invalid_argument("an operand is not aligned");
  }
  return tensors;
}

ScaleTable table_of(const Dense<float>& scale_table) {
  if (scale_table.ndim() != 1) throw std::invalid_argument("a scale table has one dimension");
  return {scale_table.data(), static_cast<std::size_t>(scale_table.size())};
}

cpu::Isa isa_of(const IsaName& isa) { return isa ? cpu::isa_of_name(*isa) : cpu::default_isa(); }

template <class Symbol>
float py_quantize(const Strided& y, const Strided& mean, const Strided& scale,
                  const Dense<float>& scale_table, Dense<Symbol>& symbols,
                  Dense<std::uint8_t>& indexes, Dense<float>& y_hat, unsigned threads,
                  const IsaName& isa) {
  const Tensors<3> tensors = tensors_of<3>({&y, &mean, &scale});
  check_shape(symbols, y, "symbols");
  check_shape(indexes, y, "indexes");
  check_shape(y_hat, y, "y_hat");
  const ScaleTable table = table_of(scale_table);
  const cpu::Isa chosen = isa_of(isa);
  Symbol* const symbols_data = symbols.mutable_data();
  std::uint8_t* const indexes_data = indexes.mutable_data();
  float* const y_hat_data = y_hat.mutable_data();
  const py::gil_scoped_release release;
  return quantize(tensors, table, chosen, threads, symbols_data, indexes_data, y_hat_data);
}

void py_scale_index(const Strided& scale, const Dense<float>& scale_table,
                    Dense<std::uint8_t>& indexes, unsigned threads, const IsaName& isa) {
  const Tensors<1> tensors = tensors_of<1>({&scale});
  check_shape(indexes, scale, "indexes");
  const ScaleTable table = table_of(scale_table);
  const cpu::Isa chosen = isa_of(isa);
  std::uint8_t* const indexes_data = indexes.mutable_data();
  const py::gil_scoped_release release;
  scale_index(tensors, table, chosen, threads, indexes_data);
}

template <class Symbol>
void py_dequantize(const Dense<Symbol>& symbols, const Strided& mean, Dense<float>& y_hat,
                   unsigned threads, const IsaName& isa) {
  const Tensors<1> tensors = tensors_of<1>({&mean});
  check_shape(symbols, mean, "symbols");
  check_shape(y_hat, mean, "y_hat");
  const cpu::Isa chosen = isa_of(isa);
  const Symbol* const symbols_data = symbols.data();
  float* const y_hat_data = y_hat.mutable_data();
  const py::gil_scoped_release release;
  dequantize(symbols_data, tensors, chosen, threads, y_hat_data);
}

template <class Symbol>
void bind_symbol(py::module_& module) {
  module.def("quantize", &py_quantize<Symbol>, py::arg("y").noconvert(),
             py::arg("mean").noconvert(), py::arg("scale").noconvert(),
             py::arg("scale_table").noconvert(), py::arg("symbols").noconvert(),
             py::arg("indexes").noconvert(), py::arg("y_hat").noconvert(), py::arg("threads"),
             py::arg("isa") = py::none(),
             "Writes symbols, indexes and y_hat, see lic_fast.ops.quantize, and returns the "
             "largest |symbol|. If that is NaN or fits no int16 (int32), the symbols are void.");
  module.def("dequantize", &py_dequantize<Symbol>, py::arg("symbols").noconvert(),
             py::arg("mean").noconvert(), py::arg("y_hat").noconvert(), py::arg("threads"),
             py::arg("isa") = py::none(), "Writes symbols + mean; see lic_fast.ops.dequantize.");
}

}  // namespace

void bind(py::module_& module) {
  bind_symbol<std::int16_t>(module);
  bind_symbol<std::int32_t>(module);
  module.def("scale_index", &py_scale_index, py::arg("scale").noconvert(),
             py::arg("scale_table").noconvert(), py::arg("indexes").noconvert(), py::arg("threads"),
             py::arg("isa") = py::none(),
             "Writes the indexes of scales; see lic_fast.ops.scale_index.");
}

}  // namespace lic_fast::latents
