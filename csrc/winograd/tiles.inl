// Convolutions by minimal filtering, for the instruction set of the file that includes this: it
// defines LIC_FAST_TARGET and the vectors of cpu/vectors_*.inl in its unnamed namespace.

#include "cpu/activations.inl"
#include "cpu/products.inl"

/// B^T, the transform of the input, along one side.
LIC_FAST_TARGET LIC_FAST_INLINE void transform_input(const Vector* d, Vector* out) {
  constexpr float kA2 = kA * kA, kB2 = kB * kB;
  const Vector both = Vector::all(-(kA2 + kB2)), product = Vector::all(kA2 * kB2);
  const Vector a = Vector::all(kA), b = Vector::all(kB);
  const Vector a2 = Vector::all(-kA2), b2 = Vector::all(-kB2);
  const Vector even = fused(b2, d[2], d[4]), even2 = fused(a2, d[2], d[4]);
  const Vector odd = fused(b2, d[1], d[3]), odd2 = fused(a2, d[1], d[3]);
  out[0] = fused(product, d[0], fused(both, d[2], d[4]));
  out[1] = fused(a, odd, even);
  out[2] = fused(Vector::all(-kA), odd, even);
  out[3] = fused(b, odd2, even2);
  out[4] = fused(Vector::all(-kB), odd2, even2);
  out[5] = fused(product, d[1], fused(both, d[3], d[5]));
}

/// A^T, the transform of the products, along one side, to kStep numbers.
template <std::size_t kStep>
LIC_FAST_TARGET LIC_FAST_INLINE void transform_output(const Vector* m, Vector* out) {
  const Vector sum = add(m[1], m[2]), difference = subtract(m[1], m[2]);
  const Vector sum2 = add(m[3], m[4]), difference2 = subtract(m[3], m[4]);
  const auto weighted = [](Vector x, float factor, Vector y, float factor2) LIC_FAST_TARGET {
    return fused(Vector::all(factor), x, multiply(Vector::all(factor2), y));
  };
  out[0] = add(add(m[0], sum), sum2);
  out[1] = weighted(difference, kA, difference2, kB);
  if constexpr (kStep == 2) {
    out[1] = add(out[1], m[5]);
  } else {
    out[2] = weighted(sum, kA * kA, sum2, kB * kB);
    out[3] = add(weighted(difference, kA * kA * kA, difference2, kB * kB * kB), m[5]);
  }
}

/// Where a tile lies.
struct Tile {
  std::size_t image, row, column;  // of the first number of its output

  LIC_FAST_TARGET static Tile of(const Problem& p, std::size_t index) {
    const std::size_t step = p.weights.step(), across = p.tiles_across(), down = p.tiles_down();
    const std::size_t rows = index / across;
    return {rows / down, p.rows_begin + rows % down * step, index % across * step};
  }
};

template <class T>
struct Tiles {
  /// Transforms a tile of the input, to numbers `distance` apart for two places.
  LIC_FAST_TARGET static void read(const Problem& p, const Tile& tile, float* out,
                                   std::size_t distance) {
    const std::size_t side = p.weights.kernel / 2;
    const bool inside = tile.row >= side && tile.column >= side &&
                        tile.row + kSide - side <= p.height &&
                        tile.column + kSide - side <= p.width;
    return inside ? read_tile<true>(p, tile, out, distance)
                  : read_tile<false>(p, tile, out, distance);
  }

  template <bool kInside>
  LIC_FAST_TARGET static void read_tile(const Problem& p, const Tile& tile, float* out,
                                        std::size_t distance) {
    const std::size_t side = p.weights.kernel / 2, channels = p.weights.in_channels;
    const std::size_t each = channels / (p.phases * p.phases);
    // Rows and columns of the tile that are inside the map.
    const std::size_t top = tile.row < side ? side - tile.row : 0;
    const std::size_t left = tile.column < side ? side - tile.column : 0;
    const std::size_t bottom = std::min(kSide, p.height + side - tile.row);
    const std::size_t right = std::min(kSide, p.width + side - tile.column);
    const T* const image = static_cast<const T*>(p.x.data) + tile.image * p.x.image;
    for (std::size_t phase = 0; phase < p.phases * p.phases; ++phase) {
      const std::size_t down = phase / p.phases, across = phase % p.phases;
      const T* places[kSide][kSide];
      for (std::size_t r = top; r < bottom; ++r) {
        for (std::size_t c = left; c < right; ++c) {
          places[r][c] = image + ((tile.row + r - side) * p.phases + down) * p.x.row +
                         ((tile.column + c - side) * p.phases + across) * p.x.pixel;
        }
      }
      float* const to = out + phase * each;
      for (std::size_t channel = 0; channel < each; channel += kWidth) {
        Vector rows[kSide][kSide];  // transformed along columns
        LIC_FAST_UNROLL(6)
        for (std::size_t c = 0; c < kSide; ++c) {
          Vector numbers[kSide], transformed[kSide];
          LIC_FAST_UNROLL(6)
          for (std::size_t r = 0; r < kSide; ++r) {
            const bool there = kInside || (r >= top && r < bottom && c >= left && c < right);
            numbers[r] = there ? Vector::load(places[r][c] + channel) : Vector::zero();
          }
          transform_input(numbers, transformed);
          LIC_FAST_UNROLL(6)
          for (std::size_t r = 0; r < kSide; ++r) rows[r][c] = transformed[r];
        }
        LIC_FAST_UNROLL(6)
        for (std::size_t r = 0; r < kSide; ++r) {
          Vector transformed[kSide];
          transform_input(rows[r], transformed);
          LIC_FAST_UNROLL(6)
          for (std::size_t c = 0; c < kSide; ++c) {
            transformed[c].store(to + (r * kSide + c) * distance + channel);
          }
        }
      }
    }
  }

  /// The first half of the transform of a tile's products.
  template <std::size_t kStep>
  LIC_FAST_TARGET LIC_FAST_INLINE static void transform_columns(const float* products,
                                                                std::size_t distance,
                                                                Vector (&half)[kStep][kSide]) {
    LIC_FAST_UNROLL(6)
    for (std::size_t c = 0; c < kSide; ++c) {
      Vector numbers[kSide], transformed[kStep];
      LIC_FAST_UNROLL(6)
      for (std::size_t r = 0; r < kSide; ++r) {
        numbers[r] = Vector::load(products + (r * kSide + c) * distance);
      }
      transform_output<kStep>(numbers, transformed);
      LIC_FAST_UNROLL(4)
      for (std::size_t r = 0; r < kStep; ++r) half[r][c] = transformed[r];
    }
  }

  /// Transforms a tile's products of one panel, adds what belongs to them and writes them.
  template <std::size_t kStep>
  LIC_FAST_TARGET static void write(const Problem& p, const Tile& tile, std::size_t panel,
                                    const float* products, std::size_t distance) {
    const std::size_t first = panel * kPanel;
    const std::size_t each = p.weights.out_channels / (p.shuffle * p.shuffle);
    if (p.shuffle > 1 && each % kPanel != 0) {
      return write_apart<kStep>(p, tile, first, products, distance);
    }
    const std::size_t phase = first / each, channel = first % each;
    const std::size_t down = phase / p.shuffle, across = phase % p.shuffle;
    const std::size_t rows = std::min(kStep, p.height - tile.row);
    const std::size_t columns = std::min(kStep, p.width - tile.column);
    for (std::size_t lane = 0; lane < kPanel && channel + lane < each; lane += kWidth) {
      const std::size_t count = std::min(kWidth, each - channel - lane);
      Vector half[kStep][kSide];
      transform_columns<kStep>(products + lane, distance, half);
      const Vector bias = load_some(p.bias + first + lane, count);
      for (std::size_t r = 0; r < rows; ++r) {
        Vector numbers[kStep];
        transform_output<kStep>(half[r], numbers);
        const std::size_t row = (tile.row + r) * p.shuffle + down;
        for (std::size_t c = 0; c < columns; ++c) {
          const std::size_t column = (tile.column + c) * p.shuffle + across;
          const auto place = [&](const auto& map) {
            return tile.image * map.image + row * map.row + column * map.pixel + channel + lane;
          };
          Vector x = add(numbers[c], bias);
          if (p.residual.data != nullptr) {
            x = add(x,
                    load_some(static_cast<const T*>(p.residual.data) + place(p.residual), count));
          }
          store_some(activate(x, p.activation), static_cast<T*>(p.out.data) + place(p.out), count);
        }
      }
    }
  }

  /// The same where the outputs of a vector belong to several pixels.
  template <std::size_t kStep>
  LIC_FAST_TARGET static void write_apart(const Problem& p, const Tile& tile, std::size_t first,
                                          const float* products, std::size_t distance) {
    const std::size_t each = p.weights.out_channels / (p.shuffle * p.shuffle);
    const std::size_t rows = std::min(kStep, p.height - tile.row);
    const std::size_t columns = std::min(kStep, p.width - tile.column);
    for (std::size_t lane = 0; lane < kPanel && first + lane < p.weights.out_channels;
         lane += kWidth) {
      const std::size_t count = std::min(kWidth, p.weights.out_channels - first - lane);
      std::size_t places[kWidth], residual_places[kWidth];  // from a pixel's
      for (std::size_t l = 0; l < count; ++l) {
        const std::size_t phase = (first + lane + l) / each, channel = (first + lane + l) % each;
        const std::size_t down = phase / p.shuffle, across = phase % p.shuffle;
        places[l] = down * p.out.row + across * p.out.pixel + channel;
        residual_places[l] = down * p.residual.row + across * p.residual.pixel + channel;
      }
      Vector half[kStep][kSide];
      transform_columns<kStep>(products + lane, distance, half);
      const Vector bias = load_some(p.bias + first + lane, count);
      for (std::size_t r = 0; r < rows; ++r) {
        Vector numbers[kStep];
        transform_output<kStep>(half[r], numbers);
        for (std::size_t c = 0; c < columns; ++c) {
          const auto place = [&](const auto& map) {
            return tile.image * map.image + (tile.row + r) * p.shuffle * map.row +
                   (tile.column + c) * p.shuffle * map.pixel;
          };
          float some[kWidth] = {};
          Vector x = add(numbers[c], bias);
          if (p.residual.data != nullptr) {
            const T* const residual = static_cast<const T*>(p.residual.data) + place(p.residual);
            for (std::size_t l = 0; l < count; ++l) {
              some[l] = cpu::wide(residual[residual_places[l]]);
            }
            x = add(x, Vector::load(some));
          }
          activate(x, p.activation).store(some);
          T* const out = static_cast<T*>(p.out.data) + place(p.out);
          for (std::size_t l = 0; l < count; ++l) out[places[l]] = cpu::narrow<T>(some[l]);
        }
      }
    }
  }
};

/// G, the transform of weights, of kPanel outputs and one input.
template <std::size_t kKernel>
LIC_FAST_TARGET void filter_input(const float* taps, const float (*factors)[kSide], float* out,
                                  std::size_t distance) {
  for (std::size_t lane = 0; lane < kPanel; lane += kWidth) {
    Vector rows[kSide][kKernel];  // places by taps
    LIC_FAST_UNROLL(5)
    for (std::size_t c = 0; c < kKernel; ++c) {
      Vector column[kKernel];
      for (std::size_t r = 0; r < kKernel; ++r) {
        column[r] = Vector::load(taps + (r * kKernel + c) * kPanel + lane);
      }
      LIC_FAST_UNROLL(6)
      for (std::size_t place = 0; place < kSide; ++place) {
        Vector sum = multiply(Vector::all(factors[place][0]), column[0]);
        for (std::size_t r = 1; r < kKernel; ++r) {
          sum = fused(Vector::all(factors[place][r]), column[r], sum);
        }
        rows[place][c] = sum;
      }
    }
    LIC_FAST_UNROLL(6)
    for (std::size_t place = 0; place < kSide; ++place) {
      LIC_FAST_UNROLL(6)
      for (std::size_t across = 0; across < kSide; ++across) {
        Vector sum = multiply(Vector::all(factors[across][0]), rows[place][0]);
        for (std::size_t c = 1; c < kKernel; ++c) {
          sum = fused(Vector::all(factors[across][c]), rows[place][c], sum);
        }
        sum.store(out + (place * kSide + across) * distance + lane);
      }
    }
  }
}

LIC_FAST_TARGET void filter_panels(const Weights& w, const Panels& panels, float* out) {
  float factors[kSide][kSide] = {};
  for (std::size_t place = 0; place < kSide; ++place) {
    for (std::size_t tap = 0; tap < w.kernel; ++tap) {
      factors[place][tap] = static_cast<float>(filter(place, tap, w.kernel));
    }
  }
  const std::size_t area = w.kernel * w.kernel, distance = w.place_size();
  for (std::size_t panel = 0; panel < panels.count; ++panel) {
    const float* const taps = w.panel(panels.first + panel);
    float* const to = out + panel * w.panel_size();
    for (std::size_t i = 0; i < w.in_channels; ++i) {
      const float* const own = taps + i * area * kPanel;
      if (w.kernel == 3) {
        filter_input<3>(own, factors, to + i * kPanel, distance);
      } else {
        filter_input<5>(own, factors, to + i * kPanel, distance);
      }
    }
  }
}

LIC_FAST_TARGET void multiply_panels(const Problem& p, const Block& block, const Panels& panels,
                                     const float* weights, float* products) {
  const Weights& w = p.weights;
  const std::size_t channels = w.in_channels, inputs = place_size(block.count, channels);
  const std::size_t across = panels.count * kPanel, distance = place_size(block.count, across);
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const float* const own = weights + place * w.place_size();
    for (std::size_t t = 0; t < block.count; t += kRows) {
      const std::size_t tiles = std::min(kRows, block.count - t);
      multiplication<Floats>(tiles, panels.count)(block.inputs + place * inputs + t * channels,
                                                  channels, own, w.panel_size(), channels, nullptr,
                                                  {}, products + place * distance + t * across);
    }
  }
}

template <class T>
LIC_FAST_TARGET void write_panels(const Problem& p, const Block& block, const Panels& panels,
                                  const float* products) {
  const std::size_t across = panels.count * kPanel, distance = place_size(block.count, across);
  for (std::size_t t = 0; t < block.count; ++t) {
    const Tile tile = Tile::of(p, block.first + t);
    for (std::size_t i = 0; i < panels.count; ++i) {
      const float* const from = products + t * across + i * kPanel;
      if (p.weights.step() == 4) {
        Tiles<T>::template write<4>(p, tile, panels.first + i, from, distance);
      } else {
        Tiles<T>::template write<2>(p, tile, panels.first + i, from, distance);
      }
    }
  }
}

LIC_FAST_TARGET void read_tiles(const Problem& p, const Block& block, std::size_t first,
                                std::size_t last) {
  const std::size_t channels = p.weights.in_channels;
  const std::size_t distance = place_size(block.count, channels);
  for (std::size_t t = first; t < last; ++t) {
    const Tile tile = Tile::of(p, block.first + t);
    float* const to = block.inputs + t * channels;
    if (p.bfloat16) {
      Tiles<std::uint16_t>::read(p, tile, to, distance);
    } else {
      Tiles<float>::read(p, tile, to, distance);
    }
  }
}

LIC_FAST_TARGET void write_tiles(const Problem& p, const Block& block, const Panels& panels,
                                 const float* products) {
  if (p.bfloat16) {
    write_panels<std::uint16_t>(p, block, panels, products);
  } else {
    write_panels<float>(p, block, panels, products);
  }
}
