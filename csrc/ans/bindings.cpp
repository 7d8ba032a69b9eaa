// The Python face of the coder: what lic_fast/ans.py exports.

#include "ans/bindings.hpp"

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ans/docstrings.hpp"
#include "ans/error.hpp"
#include "ans/pmf.hpp"
#include "ans/symbols.hpp"
#include "ans/tables.hpp"
#include "python/buffers.hpp"
#include "python/busy.hpp"
#include "python/integers.hpp"

namespace lic_fast::ans {
namespace {

namespace py = pybind11;
using python::copy_bytes;
using python::Exclusive;
using python::Integers;
using python::Output;
using TablesPointer = std::shared_ptr<const CdfTables>;

Span<std::int32_t> one_dimensional(Integers& integers, const std::string& name) {
  if (integers.shape.size() != 1) {
    throw std::invalid_argument(name + " has shape " + python::shape_text(integers.shape) +
                                "; it must have one dimension");
  }
  return integers.int32();
}

/// From a two-dimensional array or tensor, or a list of rows.
std::shared_ptr<CdfTables> make_tables(const py::object& cdfs, const py::object& cdfs_sizes,
                                       const py::object& offsets) {
  std::vector<Integers> owners;
  std::vector<Span<std::int32_t>> rows;
  if (py::isinstance<py::array>(cdfs) || python::is_tensor(cdfs)) {
    Integers& matrix = owners.emplace_back(cdfs, "cdfs");
    if (matrix.shape.size() != 2) {
      throw std::invalid_argument("cdfs has shape " + python::shape_text(matrix.shape) +
                                  "; it must be (tables, entries)");
    }
    const auto count = static_cast<std::size_t>(matrix.shape[0]);
    const auto length = static_cast<std::size_t>(matrix.shape[1]);
    const Span<std::int32_t> entries = matrix.int32();
    for (std::size_t i = 0; i < count; ++i) rows.push_back({entries.data + i * length, length});
  } else if (py::isinstance<py::sequence>(cdfs) && !py::isinstance<py::str>(cdfs)) {
    for (const py::handle row : py::tuple(cdfs)) {
      const std::string name = "cdfs[" + std::to_string(rows.size()) + "]";
      rows.push_back(one_dimensional(owners.emplace_back(row, name), name));
    }
  } else {
    throw py::type_error("cdfs must be CdfTables, an array, a tensor or a list of lists, not " +
                         std::string(Py_TYPE(cdfs.ptr())->tp_name));
  }
  Integers sizes(cdfs_sizes, "cdfs_sizes");
  Integers starts(offsets, "offsets");
  return std::make_shared<CdfTables>(rows, one_dimensional(sizes, "cdfs_sizes"),
                                     one_dimensional(starts, "offsets"));
}

/// The tables that a call names: prepared ones, or three arguments.
TablesPointer tables_of_call(const py::object& cdfs, const py::object& cdfs_sizes,
                             const py::object& offsets) {
  if (py::isinstance<CdfTables>(cdfs)) {
    if (!cdfs_sizes.is_none() || !offsets.is_none()) {
      throw py::type_error("CdfTables already hold the sizes and offsets");
    }
    return cdfs.cast<std::shared_ptr<CdfTables>>();
  }
  if (cdfs_sizes.is_none() || offsets.is_none()) {
    throw py::type_error("cdfs_sizes and offsets are needed, unless cdfs are CdfTables");
  }
  return make_tables(cdfs, cdfs_sizes, offsets);
}

/// (cdfs, cdfs_sizes, offsets), the first of them with zeros after each row's end.
py::tuple arrays_of_tables(const CdfTables& tables) {
  std::size_t longest = 0;
  for (std::size_t i = 0; i < tables.size(); ++i) {
    longest = std::max(longest, std::size_t{tables.row(i).escape} + 2);
  }
  py::array_t<std::int32_t> cdfs({tables.size(), longest});
  py::array_t<std::int32_t> sizes(static_cast<py::ssize_t>(tables.size()));
  py::array_t<std::int32_t> offsets(static_cast<py::ssize_t>(tables.size()));
  std::fill_n(cdfs.mutable_data(), cdfs.size(), 0);
  for (std::size_t i = 0; i < tables.size(); ++i) {
    const std::vector<std::int32_t> entries = tables.entries(tables.row(i));
    std::copy(entries.begin(), entries.end(), cdfs.mutable_data() + i * longest);
    sizes.mutable_data()[i] = static_cast<std::int32_t>(entries.size());
    offsets.mutable_data()[i] = tables.row(i).offset;
  }
  return py::make_tuple(cdfs, sizes, offsets);
}

void append(SymbolEncoder& encoder, const py::object& symbols, const py::object& indexes,
            const TablesPointer& tables) {
  const Integers from(symbols, "symbols");
  const Integers by(indexes, "indexes", tables->size());
  if (from.shape != by.shape) {
    throw std::invalid_argument("symbols have shape " + python::shape_text(from.shape) +
                                ", indexes " + python::shape_text(by.shape));
  }
  const py::gil_scoped_release release;
  std::visit(
      [&](const auto& symbol, const auto& index) {
        encoder.append(symbol.data, index.data, symbol.size, *tables);
      },
      from.span, by.span);
}

py::bytes flush(SymbolEncoder& encoder) {
  std::string stream;
  {
    const py::gil_scoped_release release;
    stream = encoder.flush();
  }
  return stream;
}

py::object decode(SymbolDecoder& decoder, const py::object& indexes, const TablesPointer& tables,
                  const py::object& out) {
  const Integers by(indexes, "indexes", tables->size());
  const Output output(by, out);
  auto* symbols = std::get<std::int32_t*>(output.data);
  {
    const py::gil_scoped_release release;
    std::visit([&](const auto& index) { decoder.decode(index.data, index.size, *tables, symbols); },
               by.span);
  }
  return output.result();
}

class BufferedRansEncoder {
 public:
  void encode_with_indexes(const py::object& symbols, const py::object& indexes,
                           const py::object& cdfs, const py::object& cdfs_sizes,
                           const py::object& offsets) {
    const TablesPointer tables = tables_of_call(cdfs, cdfs_sizes, offsets);
    const Exclusive<SymbolEncoder>::Use encoder(encoder_);
    append(*encoder.not_renewed(), symbols, indexes, tables);
  }

  py::bytes flush() {
    const Exclusive<SymbolEncoder>::Use encoder(encoder_);
    return ans::flush(*encoder.not_renewed());
  }

 private:
  Exclusive<SymbolEncoder> encoder_{"BufferedRansEncoder",
                                    [] { return std::make_unique<SymbolEncoder>(); }};
};

class RansEncoder {
 public:
  py::bytes encode_with_indexes(const py::object& symbols, const py::object& indexes,
                                const py::object& cdfs, const py::object& cdfs_sizes,
                                const py::object& offsets) const {
    SymbolEncoder encoder;
    append(encoder, symbols, indexes, tables_of_call(cdfs, cdfs_sizes, offsets));
    return ans::flush(encoder);
  }
};

class RansDecoder {
 public:
  py::object decode_with_indexes(const py::object& encoded, const py::object& indexes,
                                 const py::object& cdfs, const py::object& cdfs_sizes,
                                 const py::object& offsets, const py::object& out) const {
    const std::string stream = copy_bytes(encoded, "encoded");
    SymbolDecoder decoder(stream.data(), stream.size());
    return decode(decoder, indexes, tables_of_call(cdfs, cdfs_sizes, offsets), out);
  }

  void set_stream(const py::object& encoded) {
    std::string bytes = copy_bytes(encoded, "encoded");
    const Exclusive<Stream>::Use stream(stream_);
    stream->decoder.reset();  // so that a bad stream does not leave the last one in place
    stream->bytes = std::move(bytes);
    stream->decoder.emplace(stream->bytes.data(), stream->bytes.size());
  }

  py::object decode_stream(const py::object& indexes, const py::object& cdfs,
                           const py::object& cdfs_sizes, const py::object& offsets,
                           const py::object& out) {
    const TablesPointer tables = tables_of_call(cdfs, cdfs_sizes, offsets);
    const Exclusive<Stream>::Use stream(stream_);
    return decode(started(*stream.not_renewed()), indexes, tables, out);
  }

  void finish() {
    const Exclusive<Stream>::Use stream(stream_);
    started(*stream.not_renewed()).check_finished();
  }

 private:
  struct Stream {
    std::string bytes;
    std::optional<SymbolDecoder> decoder;
  };

  static SymbolDecoder& started(Stream& stream) {
    if (!stream.decoder) {
      throw std::runtime_error("the RansDecoder has no stream: call set_stream first");
    }
    return *stream.decoder;
  }

  Exclusive<Stream> stream_{"RansDecoder", [] { return std::make_unique<Stream>(); }};
};

std::vector<float> probabilities(const py::object& pmf) {
  if (python::is_tensor(pmf)) {
    return probabilities(python::array_of_tensor(pmf.attr("detach")(), "pmf"));
  }
  const py::array_t<float, py::array::c_style | py::array::forcecast> values(pmf);
  if (values.ndim() != 1) {
    throw std::invalid_argument("the pmf must have one dimension, not " +
                                std::to_string(values.ndim()));
  }
  return std::vector<float>(values.data(), values.data() + values.size());
}

void bind_tables(py::module_& module) {
  const auto self = [](const py::object& tables) { return tables; };
  py::class_<CdfTables, std::shared_ptr<CdfTables>>(module, "CdfTables", kCdfTablesDoc)
      .def(py::init(&make_tables), py::arg("cdfs"), py::arg("cdfs_sizes"), py::arg("offsets"))
      .def("__len__", &CdfTables::size)
      .def("arrays", &arrays_of_tables, kArraysDoc)
      .def("__repr__",
           [](const CdfTables& tables) {
             return "<CdfTables: " + std::to_string(tables.size()) + ">";
           })
      .def("__copy__", self)
      .def("__deepcopy__", [](const py::object& tables, const py::dict&) { return tables; })
      .def(py::pickle(&arrays_of_tables, [](const py::tuple& state) {
        if (state.size() != 3) throw std::invalid_argument("this is no state of CdfTables");
        return make_tables(state[0], state[1], state[2]);
      }));
}

void bind_encoders(py::module_& module) {
  py::class_<BufferedRansEncoder>(module, "BufferedRansEncoder", kBufferedRansEncoderDoc)
      .def(py::init<>())
      .def("encode_with_indexes", &BufferedRansEncoder::encode_with_indexes, py::arg("symbols"),
           py::arg("indexes"), py::arg("cdfs"), py::arg("cdfs_sizes") = py::none(),
           py::arg("offsets") = py::none(), kAppendDoc)
      .def("flush", &BufferedRansEncoder::flush, kFlushDoc);
  py::class_<RansEncoder>(module, "RansEncoder", kRansEncoderDoc)
      .def(py::init<>())
      .def("encode_with_indexes", &RansEncoder::encode_with_indexes, py::arg("symbols"),
           py::arg("indexes"), py::arg("cdfs"), py::arg("cdfs_sizes") = py::none(),
           py::arg("offsets") = py::none(), kEncodeDoc);
}

void bind_decoder(py::module_& module) {
  py::class_<RansDecoder>(module, "RansDecoder", kRansDecoderDoc)
      .def(py::init<>())
      .def("decode_with_indexes", &RansDecoder::decode_with_indexes, py::arg("encoded"),
           py::arg("indexes"), py::arg("cdfs"), py::arg("cdfs_sizes") = py::none(),
           py::arg("offsets") = py::none(), py::kw_only(), py::arg("out") = py::none(), kDecodeDoc)
      .def("set_stream", &RansDecoder::set_stream, py::arg("encoded"), kSetStreamDoc)
      .def("decode_stream", &RansDecoder::decode_stream, py::arg("indexes"), py::arg("cdfs"),
           py::arg("cdfs_sizes") = py::none(), py::arg("offsets") = py::none(), py::kw_only(),
           py::arg("out") = py::none(), kDecodeStreamDoc)
      .def("finish", &RansDecoder::finish, kFinishDoc);
}

// Not a py::exception: the class is Python's, so that lic_fast.errors needs no extension.
PYBIND11_CONSTINIT py::gil_safe_call_once_and_store<py::object> stream_error;

void bind_errors() {
  stream_error.call_once_and_store_result(
      [] { return py::object(py::module_::import("lic_fast.errors").attr("StreamError")); });
  py::register_local_exception_translator([](std::exception_ptr pointer) {
    try {
      if (pointer) std::rethrow_exception(pointer);
    } catch (const StreamError& error) {
      py::set_error(stream_error.get_stored(), error.what());
    }
  });
}

}  // namespace

void bind(py::module_& module) {
  bind_errors();
  bind_tables(module);
  bind_encoders(module);
  bind_decoder(module);
  module.def(
      "pmf_to_quantized_cdf",
      [](const py::object& pmf, int precision) {
        return pmf_to_quantized_cdf(probabilities(pmf), precision);
      },
      py::arg("pmf"), py::arg("precision") = 16, kPmfDoc);
}

}  // namespace lic_fast::ans
