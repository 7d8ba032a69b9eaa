// Fuzzing of the lanes coder: any tables, indexes, symbols and stream, on every instruction set
// that this CPU has.
//
// Besides staying inside memory and inside the language, it must keep two promises: what is
// encoded decodes to itself, and every instruction set gives the same bytes, the same symbols
// and the same refusals.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ans/error.hpp"
#include "ans/tables.hpp"
#include "check.hpp"
#include "cpu/isa.hpp"
#include "input.hpp"
#include "rans/decoder.hpp"
#include "rans/encoder.hpp"
#include "rans/kernels.hpp"

namespace {

using lic_fast::ans::CdfTables;
using lic_fast::ans::StreamError;
using lic_fast::cpu::Isa;
using lic_fast::fuzz::Reader;
using lic_fast::rans::Decoder;
using lic_fast::rans::Encoder;
using lic_fast::rans::kernels;
using lic_fast::rans::Message;
using lic_fast::rans::Shape;
using Symbols = std::vector<std::int32_t>;
using Indexes = std::vector<std::int16_t>;

/// Long enough for whole groups of 32 lanes, from few bytes of input.
Indexes take_long_indexes(Reader& reader, std::size_t tables) {
  Indexes indexes(reader.take<std::uint16_t>() % 1500);
  std::uint32_t random = reader.take<std::uint32_t>();
  const bool wild = reader.take<std::uint8_t>() % 16 == 15;
  for (std::int16_t& index : indexes) {
    random = random * 1664525 + 1013904223;
    index = static_cast<std::int16_t>((random >> 16) % tables);
  }
  if (wild && !indexes.empty()) {
    indexes[reader.take<std::uint16_t>() % indexes.size()] = reader.take<std::int16_t>();
  }
  return indexes;
}

/// Where a message of `size` symbols is cut into steps.
std::vector<std::size_t> take_bounds(Reader& reader, std::size_t size) {
  std::vector<std::size_t> bounds{0};
  for (unsigned i = reader.take<std::uint8_t>() % 4; i > 0; --i) {
    const std::size_t left = size - bounds.back();
    bounds.push_back(bounds.back() + reader.take<std::uint16_t>() % (left + 1));
  }
  bounds.push_back(size);
  return bounds;
}

Shape take_shape(Reader& reader) {
  const unsigned lanes = reader.take<std::uint8_t>() % 8;
  const unsigned substreams = reader.take<std::uint8_t>() % 8;
  return {lanes > 5 ? 0 : 1u << lanes, substreams};
}

std::string encode(const Symbols& symbols, const Indexes& indexes,
                   const std::vector<std::size_t>& bounds, const CdfTables& tables, Shape shape,
                   Isa isa) {
  Message message;
  for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
    message.push_back(
        {symbols.data() + bounds[i], indexes.data() + bounds[i], bounds[i + 1] - bounds[i]});
  }
  return Encoder(kernels(isa), shape).encode({message}, tables, 1).front();
}

/// The symbols of a stream that is used up by them; nothing if there is an error.
std::optional<Symbols> decode(const std::string& stream, const Indexes& indexes,
                              const std::vector<std::size_t>& bounds, const CdfTables& tables,
                              Isa isa) {
  // A vector, since a string would have a byte of its own after the last one.
  const std::vector<char> exact(stream.begin(), stream.end());
  Symbols symbols(indexes.size());
  try {
    Decoder decoder(kernels(isa));
    decoder.start(exact.data(), exact.size());
    for (std::size_t i = 0; i + 1 < bounds.size(); ++i) {
      const std::size_t from = bounds[i], count = bounds[i + 1] - from;
      decoder.decode(tables, indexes.data() + from, count, symbols.data() + from, 1);
    }
    decoder.check_finished();
  } catch (const StreamError&) {
    return std::nullopt;
  } catch (const std::out_of_range&) {
    return std::nullopt;
  }
  return symbols;
}

/// As decode() does, but into 16 bits and with 8-bit indexes; whether there is no error.
bool decode_narrow(const std::string& stream, const Indexes& indexes, const CdfTables& tables,
                   Isa isa, const std::optional<Symbols>& expected) {
  const std::vector<std::uint8_t> bytes(indexes.begin(), indexes.end());
  std::vector<std::int16_t> symbols(bytes.size());
  try {
    Decoder decoder(kernels(isa));
    decoder.start(stream.data(), stream.size());
    decoder.decode(tables, bytes.data(), bytes.size(), symbols.data(), 1);
    decoder.check_finished();
  } catch (const StreamError&) {
    return false;
  } catch (const std::out_of_range&) {
    return false;
  } catch (const std::overflow_error&) {
    return false;
  }
  CHECK(!expected || std::equal(symbols.begin(), symbols.end(), expected->begin()));
  return true;
}

void check_any_stream(const std::string& stream, const Indexes& indexes,
                      const std::vector<std::size_t>& bounds, const CdfTables& tables) {
  const auto symbols = decode(stream, indexes, bounds, tables, Isa::kScalar);
  const std::vector<std::size_t> one_step{0, indexes.size()};
  const bool narrow_indexes =
      std::all_of(indexes.begin(), indexes.end(), [](std::int16_t i) { return i >= 0 && i < 256; });
  const auto at_once = decode(stream, indexes, one_step, tables, Isa::kScalar);
  const bool narrow =
      narrow_indexes && decode_narrow(stream, indexes, tables, Isa::kScalar, at_once);
  for (const Isa isa : lic_fast::cpu::supported()) {
    CHECK(decode(stream, indexes, bounds, tables, isa) == symbols);
    if (narrow_indexes) {
      CHECK(decode_narrow(stream, indexes, tables, isa, at_once) == narrow);
    }
  }
}

void check_any_symbols(Reader& reader, const Indexes& indexes,
                       const std::vector<std::size_t>& bounds, const CdfTables& tables) {
  const Shape shape = take_shape(reader);
  const unsigned wild = reader.take<std::uint8_t>();
  std::uint32_t random = reader.take<std::uint32_t>();
  Symbols symbols(indexes.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    random = random * 1664525 + 1013904223;
    if ((random >> 24) < wild / 8 || indexes[i] < 0 ||
        static_cast<std::size_t>(indexes[i]) >= tables.size()) {
      symbols[i] = lic_fast::fuzz::take_symbol(reader, indexes[i], tables);
    } else {
      const CdfTables::Row& row = tables.row(static_cast<std::size_t>(indexes[i]));
      const std::uint32_t value = row.escape == 0 ? 0 : (random >> 8) % row.escape;
      symbols[i] = static_cast<std::int32_t>(std::int64_t{row.offset} + value);
    }
  }
  std::string stream;
  try {
    stream = encode(symbols, indexes, bounds, tables, shape, Isa::kScalar);
  } catch (const std::overflow_error&) {
    return;
  } catch (const std::out_of_range&) {
    return;
  }
  for (const Isa isa : lic_fast::cpu::supported()) {
    CHECK(encode(symbols, indexes, bounds, tables, shape, isa) == stream);
    const auto decoded = decode(stream, indexes, bounds, tables, isa);
    CHECK(decoded && *decoded == symbols);
  }
  for (unsigned i = reader.take<std::uint8_t>() % 4; i > 0; --i) {
    char& byte = stream[reader.take<std::uint16_t>() % stream.size()];
    byte = static_cast<char>(byte ^ reader.take<std::int8_t>());
  }
  if (reader.take<std::uint8_t>() % 4 == 0) stream.resize(reader.take<std::uint16_t>() % 4096);
  check_any_stream(stream, indexes, bounds, tables);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader reader(data, size);
  const unsigned mode = reader.take<std::uint8_t>() % 4;
  const auto tables = lic_fast::fuzz::make_tables(lic_fast::fuzz::take_tables(reader));
  if (!tables) return 0;
  const Indexes indexes = mode % 2 == 0 ? lic_fast::fuzz::take_indexes(reader, tables->size())
                                        : take_long_indexes(reader, tables->size());
  const std::vector<std::size_t> bounds = take_bounds(reader, indexes.size());
  if (mode >= 2) {
    check_any_symbols(reader, indexes, bounds, *tables);
  } else {
    check_any_stream(reader.rest(), indexes, bounds, *tables);
  }
  return 0;
}
