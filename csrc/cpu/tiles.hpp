// The eight tiles of AMX: matrices of up to 16 rows of 64 bytes, in registers.
//
// What multiplies with them has the attribute LIC_FAST_AMX, includes immintrin.h, and calls
// _tile_release when it is done, so that a thread's context stays small.

#pragma once

#include "cpu/isa.hpp"

#ifdef LIC_FAST_TILES

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

namespace lic_fast::cpu {

/// Rows of a tile, and bytes of a row.
inline constexpr std::size_t kTileRows = 16, kTileBytes = 64;

/// GCC's intrinsics do not say that they read memory: without this, what was just written there
/// might be written later.
inline void written() { asm volatile("" : : : "memory"); }

/// As the processor reads it.
struct alignas(64) TileShapes {
  std::uint8_t palette = 1, start_row = 0, reserved[14] = {};
  std::uint16_t bytes[16] = {};  // of a row of each tile
  std::uint8_t rows[16] = {};

  void set(std::size_t tile, std::size_t rows_, std::size_t bytes_) {
    rows[tile] = static_cast<std::uint8_t>(rows_);
    bytes[tile] = static_cast<std::uint16_t>(bytes_);
  }

  /// Has this thread's tiles be such, and zero.
  LIC_FAST_AMX void apply() const {
    written();
    _tile_loadconfig(this);
  }
};
static_assert(sizeof(TileShapes) == 64, "a configuration has 64 bytes");

}  // namespace lic_fast::cpu

#endif
