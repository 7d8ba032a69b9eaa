// Fuzzing of the coder: any tables, indexes, symbols and stream.
//
// Besides staying inside memory and inside the language, it must keep two promises: what is
// encoded decodes to itself, and a stream that is accepted and used up is the one that its
// symbols encode to.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "ans/error.hpp"
#include "ans/symbols.hpp"
#include "ans/tables.hpp"
#include "check.hpp"
#include "input.hpp"

namespace {

using lic_fast::ans::CdfTables;
using lic_fast::ans::StreamError;
using lic_fast::ans::SymbolDecoder;
using lic_fast::ans::SymbolEncoder;
using lic_fast::fuzz::make_tables;
using lic_fast::fuzz::Reader;
using lic_fast::fuzz::take_indexes;
using lic_fast::fuzz::take_symbol;
using lic_fast::fuzz::take_tables;

std::string encode(const std::vector<std::int32_t>& symbols,
                   const std::vector<std::int16_t>& indexes, const CdfTables& tables) {
  SymbolEncoder encoder;
  encoder.append(symbols.data(), indexes.data(), symbols.size(), tables);
  return encoder.flush();
}

/// The symbols of a stream that is used up by them; nothing if there is an error.
std::optional<std::vector<std::int32_t>> decode(const std::string& stream,
                                                const std::vector<std::int16_t>& indexes,
                                                const CdfTables& tables) {
  std::vector<std::int32_t> symbols(indexes.size());
  try {
    SymbolDecoder decoder(stream.data(), stream.size());
    // In two calls, as a stream of several slices is read.
    const std::size_t half = indexes.size() / 2;
    decoder.decode(indexes.data(), half, tables, symbols.data());
    decoder.decode(indexes.data() + half, indexes.size() - half, tables, symbols.data() + half);
    decoder.check_finished();
  } catch (const StreamError&) {
    return std::nullopt;
  } catch (const std::out_of_range&) {
    return std::nullopt;
  }
  return symbols;
}

void check_any_stream(const std::string& stream, const std::vector<std::int16_t>& indexes,
                      const CdfTables& tables) {
  // A vector, since a string would have a byte of its own after the last one.
  const std::vector<char> exact(stream.begin(), stream.end());
  try {
    SymbolDecoder decoder(exact.data(), exact.size());
    std::vector<std::int32_t> symbols(indexes.size());
    decoder.decode(indexes.data(), indexes.size(), tables, symbols.data());
  } catch (const StreamError&) {
  } catch (const std::out_of_range&) {
  }
  const auto symbols = decode(stream, indexes, tables);
  if (symbols) CHECK(encode(*symbols, indexes, tables) == stream);
}

void check_any_symbols(Reader& reader, const std::vector<std::int16_t>& indexes,
                       const CdfTables& tables, bool alter) {
  std::vector<std::int32_t> symbols(indexes.size());
  for (std::size_t i = 0; i < symbols.size(); ++i) {
    symbols[i] = take_symbol(reader, indexes[i], tables);
  }
  std::string stream;
  try {
    stream = encode(symbols, indexes, tables);
  } catch (const std::overflow_error&) {
    return;
  } catch (const std::out_of_range&) {
    return;
  }
  const auto decoded = decode(stream, indexes, tables);
  CHECK(decoded && *decoded == symbols);
  if (!alter) return;
  for (unsigned i = reader.take<std::uint8_t>() % 4 + 1; i > 0; --i) {
    char& byte = stream[reader.take<std::uint16_t>() % stream.size()];
    byte = static_cast<char>(byte ^ reader.take<std::int8_t>());
  }
  if (reader.take<std::uint8_t>() % 4 == 0) stream.resize(reader.take<std::uint16_t>() % 256);
  check_any_stream(stream, indexes, tables);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader reader(data, size);
  const unsigned mode = reader.take<std::uint8_t>() % 4;
  const auto tables = make_tables(take_tables(reader));
  if (!tables) return 0;
  const std::vector<std::int16_t> indexes = take_indexes(reader, tables->size());
  if (mode >= 2) {
    check_any_symbols(reader, indexes, *tables, mode == 3);
    return 0;
  }
  std::string stream = reader.rest();
  if (mode == 1) {
    // A whole number of words and a possible state, to get behind the first checks.
    stream.resize(stream.size() < 8 ? 8 : stream.size() & ~std::size_t{3});
    stream[7] = static_cast<char>(stream[7] & 0x7f);
    stream[4] = static_cast<char>(stream[4] | 1);
  }
  check_any_stream(stream, indexes, *tables);
  return 0;
}
