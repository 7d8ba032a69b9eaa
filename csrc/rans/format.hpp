// The lanes stream: parameters and header. docs/format.md describes it in full.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ans/error.hpp"

namespace lic_fast::rans {

using ans::StreamError;

// A state is in [2^16, 2^32), words and probabilities have 16 bits: at most one word moves with
// each operation.
inline constexpr std::uint32_t kLowerBound = std::uint32_t{1} << 16;
inline constexpr unsigned kMaxLaneBits = 5;
inline constexpr unsigned kMaxLanes = 1u << kMaxLaneBits;
inline constexpr unsigned kMaxSubstreams = 32;

/// What a stream says of itself.
struct Header {
  unsigned lanes = 1;                 // a power of two
  std::vector<std::uint32_t> groups;  // of each substream: symbols that all lanes take, / lanes
  std::vector<std::size_t> words;     // of each substream
  std::size_t size = 0;               // bytes of the header itself
};

/// The symbols of a step of `count` that substream k of `substreams` has.
struct Share {
  Share(std::size_t count, std::size_t k, std::size_t substreams)
      : begin(bound(count, k, substreams)), end(bound(count, k + 1, substreams)) {}
  std::size_t size() const { return end - begin; }
  std::size_t begin, end;

 private:
  // floor(k count / substreams), without the overflow of the product.
  static std::size_t bound(std::size_t count, std::size_t k, std::size_t substreams) {
    return count / substreams * k + count % substreams * k / substreams;
  }
};

inline void append_varint(std::string& bytes, std::uint32_t value) {
  for (; value >= 0x80; value >>= 7) bytes.push_back(static_cast<char>(value | 0x80));
  bytes.push_back(static_cast<char>(value));
}

/// `words` of the last substream is not written: it follows from the stream's size.
inline std::string write_header(const Header& header) {
  unsigned lane_bits = 0;
  while (1u << lane_bits < header.lanes) ++lane_bits;
  const std::size_t substreams = header.groups.size();
  std::string bytes(1, static_cast<char>(lane_bits | (substreams - 1) << 3));
  for (const std::uint32_t groups : header.groups) append_varint(bytes, groups);
  for (std::size_t k = 0; k + 1 < substreams; ++k) {
    append_varint(bytes, static_cast<std::uint32_t>(header.words[k]));
  }
  return bytes;
}

/// Reads the bytes of a header that may be anything.
class HeaderReader {
 public:
  HeaderReader(const char* data, std::size_t size) : data_(data), size_(size) {}

  /// Throws StreamError. The substreams have the words that the header says.
  Header read() {
    Header header;
    const unsigned shape = byte();
    const unsigned lane_bits = shape & 7;
    if (lane_bits > kMaxLaneBits) throw StreamError("the stream's header asks for too many lanes");
    header.lanes = 1u << lane_bits;
    const std::size_t substreams = (shape >> 3) + 1;
    for (std::size_t k = 0; k < substreams; ++k) {
      header.groups.push_back(varint());
      if (header.lanes == 1 && header.groups.back() != 0) {
        throw StreamError("the stream's header gives groups to a single lane");
      }
    }
    std::size_t words = 0;
    for (std::size_t k = 0; k + 1 < substreams; ++k) {
      header.words.push_back(varint());
      words += header.words.back();
    }
    header.size = position_;
    const std::size_t bytes = size_ - position_;
    if (bytes % 2 != 0) {
      throw StreamError("the stream's words have " + std::to_string(bytes) +
                        " bytes, which is no multiple of 2");
    }
    if (words > bytes / 2) {
      throw StreamError("the stream is cut: its header promises " + std::to_string(words) +
                        " words, it has " + std::to_string(bytes / 2));
    }
    header.words.push_back(bytes / 2 - words);
    return header;
  }

 private:
  unsigned byte() {
    if (position_ == size_) throw StreamError("the stream ends in its header");
    return static_cast<unsigned char>(data_[position_++]);
  }

  std::uint32_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 35; shift += 7) {
      const unsigned next = byte();
      value |= std::uint64_t{next & 0x7f} << shift;
      if (next < 0x80) {
        if ((next == 0 && shift != 0) || value > 0xffffffffu) break;
        return static_cast<std::uint32_t>(value);
      }
    }
    throw StreamError("the stream's header has a number that no encoder writes");
  }

  const char* data_;
  std::size_t size_;
  std::size_t position_ = 0;
};

}  // namespace lic_fast::rans
