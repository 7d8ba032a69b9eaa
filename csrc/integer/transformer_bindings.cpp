// The Python face of norm, attention and gate.

#include <pybind11/stl.h>

#include "integer/arrays.hpp"
#include "integer/bindings.hpp"
#include "integer/transformer.hpp"

namespace lic_fast::integer {
namespace {

using Floats = Dense<float>;

void check_sizes(std::initializer_list<const Floats*> arrays, std::size_t expected,
                 const char* what) {
  for (const Floats* array : arrays) {
    check(static_cast<std::size_t>(array->size()) == expected, what);
  }
}

void run_layer_norm(const Floats& x, const Floats& weight, const Floats& bias, float inverse_step,
                    float epsilon, Floats& out, unsigned threads,
                    const std::optional<std::string>& isa) {
  check(x.ndim() == 2 && size(x, 1) > 0 && size(x, 1) <= kMostNormed,
        "x must be (n, C), C <= 2048");
  check_sizes({&weight, &bias}, size(x, 1), "weight and bias must be (C,)");
  check(out.size() == x.size(), "out has another size");
  const Norm norm{weight.data(), bias.data(), inverse_step, epsilon};
  float* const to = out.mutable_data();
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  layer_norm(x.data(), size(x, 0), size(x, 1), norm, to, chosen, threads);
}

void run_sigmoid(const Floats& x, Floats& out, unsigned threads,
                 const std::optional<std::string>& isa) {
  check(out.size() == x.size(), "out has another size");
  float* const to = out.mutable_data();
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  sigmoid(x.data(), static_cast<std::size_t>(x.size()), to, chosen, threads);
}

void run_attention(const Floats& qkv, const Floats& inverse_step, const Floats& scale,
                   const Floats& bias, const Floats& value_step, Floats& out, std::size_t window,
                   std::size_t shift, unsigned threads, const std::optional<std::string>& isa) {
  const Shape shape = shape_of(qkv, "qkv");
  const std::size_t heads = static_cast<std::size_t>(scale.size());
  const std::size_t channels = shape.channels / 3, tokens = window * window;
  check(window > 0 && window <= 8 && tokens <= kMostTokens && shift < window,
        "the window must be in 1..8, the shift smaller");
  check(heads > 0 && shape.channels == 3 * channels && channels % heads == 0 && channels > 0 &&
            channels / heads <= kMostChannels,
        "qkv must be (B, H, W, 3 * C), C in heads of up to 64");
  check(shape.height % window == 0 && shape.width % window == 0,
        "the map must be in whole windows");
  check_sizes({&inverse_step}, 3 * channels, "inverse_step must be (3 * C,)");
  check_sizes({&value_step}, channels, "value_step must be (C,)");
  check_sizes({&bias}, heads * tokens * tokens, "bias must be (heads, tokens, tokens)");
  check(static_cast<std::size_t>(out.size()) * 3 == static_cast<std::size_t>(qkv.size()),
        "out must be (B, H, W, C)");
  const Attention attention{shape.batch,
                            shape.height,
                            shape.width,
                            channels,
                            heads,
                            window,
                            shift,
                            dense_view(qkv.data(), shape.height, shape.width, shape.channels),
                            inverse_step.data(),
                            scale.data(),
                            bias.data(),
                            value_step.data(),
                            dense_view(out.mutable_data(), shape.height, shape.width, channels)};
  const cpu::Isa chosen = isa_of(isa);
  const py::gil_scoped_release release;
  attend(attention, chosen, threads);
}

}  // namespace

void bind_transformer(py::module_& module) {
  module.def("exact_layer_norm", &run_layer_norm, py::arg("x").noconvert(),
             py::arg("weight").noconvert(), py::arg("bias").noconvert(), py::arg("inverse_step"),
             py::arg("epsilon"), py::arg("out").noconvert(), py::arg("threads"),
             py::arg("isa") = py::none(), "See lic_fast.ops.exact_layer_norm.");
  module.def("exact_sigmoid", &run_sigmoid, py::arg("x").noconvert(), py::arg("out").noconvert(),
             py::arg("threads"), py::arg("isa") = py::none(), "See lic_fast.ops.exact_sigmoid.");
  module.def("exact_window_attention", &run_attention, py::arg("qkv").noconvert(),
             py::arg("inverse_step").noconvert(), py::arg("scale").noconvert(),
             py::arg("bias").noconvert(), py::arg("value_step").noconvert(),
             py::arg("out").noconvert(), py::arg("window"), py::arg("shift"), py::arg("threads"),
             py::arg("isa") = py::none(), "See lic_fast.ops.exact_window_attention.");
}

}  // namespace lic_fast::integer
