// The Python face of the lanes coder: what lic_fast/rans.py exports.

#include "rans/bindings.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <variant>
#include <vector>

#include "ans/symbols.hpp"
#include "ans/tables.hpp"
#include "cpu/isa.hpp"
#include "python/buffers.hpp"
#include "python/busy.hpp"
#include "python/integers.hpp"
#include "rans/decoder.hpp"
#include "rans/docstrings.hpp"
#include "rans/encoder.hpp"
#include "rans/format.hpp"
#include "rans/kernels.hpp"

namespace lic_fast::rans {
namespace {

namespace py = pybind11;
using python::Exclusive;
using python::Integers;
using python::Output;
using Tables = std::shared_ptr<CdfTables>;

constexpr std::size_t kMaxTables = std::numeric_limits<std::int16_t>::max();

/// Indexes in one of the types that the coder takes.
class Indexes {
 public:
  Indexes(const py::handle& object, const CdfTables& tables)
      : integers(object, "indexes", tables.size()) {
    if (const auto* wide = std::get_if<ans::Span<std::int32_t>>(&integers.span)) {
      narrow_.resize(wide->size);
      for (std::size_t i = 0; i < wide->size; ++i) {
        ans::checked_row(tables, wide->data[i], i);
        narrow_[i] = static_cast<std::int16_t>(wide->data[i]);
      }
      data = narrow_.data();
    } else if (const auto* bytes = std::get_if<ans::Span<std::uint8_t>>(&integers.span)) {
      data = bytes->data;
    } else {
      data = std::get<ans::Span<std::int16_t>>(integers.span).data;
    }
  }
  Indexes(const Indexes&) = delete;

  Integers integers;
  std::variant<const std::uint8_t*, const std::int16_t*> data;

 private:
  std::vector<std::int16_t> narrow_;
};

Tables checked_tables(const Tables& tables) {
  if (tables->size() > kMaxTables) {
    throw std::invalid_argument("there are " + std::to_string(tables->size()) +
                                " CDF tables; the coder takes at most " +
                                std::to_string(kMaxTables));
  }
  return tables;
}

const Kernels& kernels_of(const std::optional<std::string>& isa) {
  return kernels(isa ? cpu::isa_of_name(*isa) : cpu::default_isa());
}

/// A number of threads: what the caller said, else torch's, else the CPU's.
class Threads {
 public:
  explicit Threads(std::optional<long> given) : given_(given) {
    if (given && *given < 1) {
      throw std::invalid_argument("threads is " + std::to_string(*given) +
                                  "; it must be at least 1");
    }
  }

  unsigned now() const {
    constexpr long kMost = 1024;
    if (given_) return static_cast<unsigned>(std::min(*given_, kMost));
    const auto modules = py::reinterpret_borrow<py::dict>(PyImport_GetModuleDict());
    if (modules.contains("torch")) {
      const py::object count = py::getattr(modules["torch"], "get_num_threads", py::none());
      if (!count.is_none()) return count().cast<unsigned>();
    }
    return std::max(1u, std::thread::hardware_concurrency());
  }

 private:
  std::optional<long> given_;
};

py::sequence as_sequence(const py::handle& object, const std::string& what) {
  if (!PySequence_Check(object.ptr()) || PyUnicode_Check(object.ptr()) ||
      PyBytes_Check(object.ptr())) {
    throw py::type_error(what + ", not " + std::string(Py_TYPE(object.ptr())->tp_name));
  }
  auto sequence = py::reinterpret_steal<py::tuple>(PySequence_Tuple(object.ptr()));
  if (!sequence) throw py::error_already_set();
  return std::move(sequence);
}

/// A message, and what keeps its memory alive.
class OwnedMessage {
 public:
  OwnedMessage(const py::handle& object, const CdfTables& tables) {
    const std::string pair = "a step must be a pair (symbols, indexes)";
    for (const py::handle step : as_sequence(object, "steps must be a sequence of pairs")) {
      const py::sequence parts = as_sequence(step, pair);
      if (parts.size() != 2) {
        throw std::invalid_argument(pair + ", not " + std::to_string(parts.size()) + " things");
      }
      Integers& symbols = symbols_.emplace_back(py::object(parts[0]), "symbols");
      Indexes& indexes = indexes_.emplace_back(py::object(parts[1]), tables);
      if (symbols.shape != indexes.integers.shape) {
        throw std::invalid_argument("symbols have shape " + python::shape_text(symbols.shape) +
                                    ", indexes " + python::shape_text(indexes.integers.shape));
      }
      Step& added = message.emplace_back();
      added.size = symbols.size();
      added.indexes = indexes.data;
      if (const auto* narrow = std::get_if<ans::Span<std::int16_t>>(&symbols.span)) {
        added.symbols = narrow->data;
      } else {
        added.symbols = symbols.int32().data;
      }
    }
  }

  Message message;

 private:
  std::deque<Integers> symbols_;
  std::deque<Indexes> indexes_;
};

class LanesEncoder {
 public:
  LanesEncoder(const Tables& tables, std::optional<long> lanes, std::optional<long> substreams,
               std::optional<long> threads, const std::optional<std::string>& isa)
      : tables_(checked_tables(tables)),
        threads_(threads),
        encoder_("Encoder", [&chosen = kernels_of(isa), shape = checked_shape(lanes, substreams)] {
          return std::make_unique<Encoder>(chosen, shape);
        }) {}

  py::bytes encode(const py::object& steps) {
    return py::bytes(encode_all({std::make_shared<OwnedMessage>(steps, *tables_)}).front());
  }

  py::list encode_batch(const py::object& messages) {
    std::vector<std::shared_ptr<OwnedMessage>> owned;
    for (const py::handle steps : as_sequence(messages, "messages must be a sequence")) {
      owned.push_back(std::make_shared<OwnedMessage>(steps, *tables_));
    }
    py::list streams;
    for (const std::string& stream : encode_all(owned)) streams.append(py::bytes(stream));
    return streams;
  }

 private:
  static Shape checked_shape(std::optional<long> lanes, std::optional<long> substreams) {
    if (lanes && (*lanes < 1 || *lanes > long{kMaxLanes} || (*lanes & (*lanes - 1)) != 0)) {
      throw std::invalid_argument("lanes is " + std::to_string(*lanes) +
                                  "; it must be 1, 2, 4, 8, 16 or 32");
    }
    if (substreams && (*substreams < 1 || *substreams > long{kMaxSubstreams})) {
      throw std::invalid_argument("substreams is " + std::to_string(*substreams) +
                                  "; it must be 1 to " + std::to_string(kMaxSubstreams));
    }
    return {static_cast<unsigned>(lanes.value_or(0)),
            static_cast<unsigned>(substreams.value_or(0))};
  }

  std::vector<std::string> encode_all(const std::vector<std::shared_ptr<OwnedMessage>>& owned) {
    std::vector<Message> messages;
    for (const auto& each : owned) messages.push_back(each->message);
    const unsigned threads = threads_.now();
    const Exclusive<Encoder>::Use encoder(encoder_);
    const py::gil_scoped_release release;
    return encoder->encode(messages, *tables_, threads);
  }

  Tables tables_;
  Threads threads_;
  Exclusive<Encoder> encoder_;
};

class LanesDecoder {
 public:
  LanesDecoder(const Tables& tables, std::optional<long> threads,
               const std::optional<std::string>& isa)
      : tables_(checked_tables(tables)),
        threads_(threads),
        decoder_("Decoder",
                 [&chosen = kernels_of(isa)] { return std::make_unique<Decoder>(chosen); }) {}

  void start(const py::object& stream) {
    const std::string bytes = python::copy_bytes(stream, "stream");
    const Exclusive<Decoder>::Use decoder(decoder_);
    decoder->start(bytes.data(), bytes.size());
  }

  py::object decode(const py::object& indexes, const py::object& out) {
    const Indexes by(indexes, *tables_);
    const Output output(by.integers, out, true);
    const unsigned threads = threads_.now();
    const Exclusive<Decoder>::Use decoder(decoder_);
    check_started(*decoder.not_renewed());
    {
      const py::gil_scoped_release release;
      std::visit(
          [&](const auto* index, auto* symbols) {
            decoder->decode(*tables_, index, by.integers.size(), symbols, threads);
          },
          by.data, output.data);
    }
    return output.result();
  }

  void finish() {
    const Exclusive<Decoder>::Use decoder(decoder_);
    check_started(*decoder.not_renewed());
    decoder->check_finished();
  }

 private:
  static void check_started(const Decoder& decoder) {
    if (!decoder.started()) throw std::runtime_error("the Decoder has no stream: call start first");
  }

  Tables tables_;
  Threads threads_;
  Exclusive<Decoder> decoder_;
};

py::tuple inspect(const py::object& stream) {
  const std::string bytes = python::copy_bytes(stream, "stream");
  const Header header = HeaderReader(bytes.data(), bytes.size()).read();
  return py::make_tuple(header.lanes, header.groups, header.words);
}

}  // namespace

void bind(py::module_& module) {
  py::class_<LanesEncoder>(module, "LanesEncoder", kEncoderDoc)
      .def(py::init<const Tables&, std::optional<long>, std::optional<long>, std::optional<long>,
                    const std::optional<std::string>&>(),
           py::arg("tables"), py::kw_only(), py::arg("lanes") = py::none(),
           py::arg("substreams") = py::none(), py::arg("threads") = py::none(),
           py::arg("isa") = py::none())
      .def("encode", &LanesEncoder::encode, py::arg("steps"), kEncodeDoc)
      .def("encode_batch", &LanesEncoder::encode_batch, py::arg("messages"), kEncodeBatchDoc);
  py::class_<LanesDecoder>(module, "LanesDecoder", kDecoderDoc)
      .def(py::init<const Tables&, std::optional<long>, const std::optional<std::string>&>(),
           py::arg("tables"), py::kw_only(), py::arg("threads") = py::none(),
           py::arg("isa") = py::none())
      .def("start", &LanesDecoder::start, py::arg("stream"), kStartDoc)
      .def("decode", &LanesDecoder::decode, py::arg("indexes"), py::kw_only(),
           py::arg("out") = py::none(), kDecodeDoc)
      .def("finish", &LanesDecoder::finish, kFinishDoc);
  module.def("inspect_lanes", &inspect, py::arg("stream"), kInspectDoc);
  module.def(
      "instruction_sets",
      [] {
        std::vector<std::string> names;
        for (const cpu::Isa isa : cpu::supported()) names.emplace_back(cpu::name(isa));
        return names;
      },
      kInstructionSetsDoc);
}

}  // namespace lic_fast::rans
