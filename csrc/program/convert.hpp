// Copies between a caller's maps of float32 or pictures of uint8 and the maps of a program.

#pragma once

#include <cstddef>
#include <cstdint>

#include "program/executor.hpp"
#include "program/node.hpp"

namespace lic_fast::program {

/// Rows of a caller's map, `width` pixels wide, to those of a program's map, as float32 or as
/// bfloat16 rounded to the nearest, ties to even.
void read(const Array<const float>& from, const View& to, Rows rows, std::size_t width,
          bool bfloat16, unsigned threads);

/// Rows of a program's map to those of a caller's.
void write(const View& from, const Array<float>& to, Rows rows, std::size_t width, bool bfloat16,
           unsigned threads);

/// Rows of a caller's picture, divided by 255, to those of a program's map of the picture and its
/// padding, which has `width` columns.
void read(const Picture<const std::uint8_t>& from, const View& to, Rows rows, std::size_t width,
          bool bfloat16, unsigned threads);

/// Rows of such a map, times 255, rounded, ties to even, and clamped, to the rows of the picture
/// that are among them. Returns whether all numbers of the rows are finite.
bool write(const View& from, const Picture<std::uint8_t>& to, Rows rows, std::size_t width,
           bool bfloat16, unsigned threads);

}  // namespace lic_fast::program
