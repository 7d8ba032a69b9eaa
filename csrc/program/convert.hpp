// Copies between a caller's maps of float32 and those of a program.

#pragma once

#include <cstddef>

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

}  // namespace lic_fast::program
