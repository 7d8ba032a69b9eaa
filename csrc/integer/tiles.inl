// Some rows of a convolution by tiles of AMX, for the file that includes this as rows.inl asks; it
// computes what that does. An instruction multiplies 16 pixels, of 64 input channels each, by a
// block of output channels, without saturation, and adds to sums of 32 bits.

struct Tiles {
  LIC_FAST_TARGET static void run(const Rows& rows) {
    const Weights& w = rows.problem.weights;
    // Weights of some blocks stay in the second cache for all pixels, and what pixels of a tile
    // read stays in the first one for all of these blocks.
    constexpr std::size_t kBytes = std::size_t{1} << 20;
    const std::size_t some = std::max<std::size_t>(kBytes / w.tiles_size() / 2 * 2, 2);
    Shape shape;
    for (std::size_t group = 0; group < w.groups; ++group) {
      for (std::size_t first = 0; first < w.blocks; first += some) {
        all(rows, {group, first, std::min(w.blocks, first + some)}, shape);
      }
    }
    _tile_release();
  }

 private:
  /// What the eight tiles are: sums of the first pixels for two blocks, and of the second ones,
  /// activations of both, and weights of both blocks. The second pixels are others of the row, or
  /// the low halves of the first ones.
  class Shape {
   public:
    LIC_FAST_TARGET void set(std::size_t first, std::size_t second) {
      if (first == first_ && second == second_) return;
      first_ = first;
      second_ = second;
      const std::size_t rows[8] = {first, first, second, second, first, second, 16, 16};
      cpu::TileShapes shapes;
      for (std::size_t i = 0; i < 8; ++i) shapes.set(i, rows[i], cpu::kTileBytes);
      shapes.apply();
    }

   private:
    std::size_t first_ = 0, second_ = 0;
  };

  /// Pixels of a row that are in tiles together: the n of theirs that begin at `column`.
  struct Span {
    std::size_t column, n;
  };

  /// Of a group the blocks first to last - 1.
  struct Blocks {
    std::size_t group, first, last;
  };

  LIC_FAST_TARGET static void all(const Rows& rows, const Blocks& blocks, Shape& shape) {
    const Problem& p = rows.problem;
    const std::size_t width = p.out_width(), tiles = (width + kTilePixels - 1) / kTilePixels;
    const std::size_t together = p.halves == 2 ? 1 : 2;
    const auto span = [&](std::size_t i) {
      const std::size_t begin = width * i / tiles;
      return Span{begin, width * (i + 1) / tiles - begin};
    };
    for (std::size_t row = 0; row < rows.count; ++row) {
      for (std::size_t i = 0; i < tiles; i += together) {
        const Span first = span(i), second = i + 1 < tiles ? span(i + 1) : Span{first.column, 0};
        std::size_t block = blocks.first;
        for (; block + 2 <= blocks.last; block += 2) {
          some<2>(rows, blocks.group, block, row, first, second, shape);
        }
        if (block < blocks.last) some<1>(rows, blocks.group, block, row, first, second, shape);
      }
    }
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void some(const Rows& rows, std::size_t group, std::size_t block,
                                   std::size_t row, Span first, Span second, Shape& shape) {
    if (rows.problem.halves == 2) {
      halves<B>(rows, group, block, row, first, shape);
    } else if (second.n > 0) {
      pixels<B, true>(rows, group, block, row, first, second, shape);
    } else {
      pixels<B, false>(rows, group, block, row, first, first, shape);
    }
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void halves(const Rows& rows, std::size_t group, std::size_t block,
                                     std::size_t row, Span span, Shape& shape) {
    alignas(64) std::int32_t high[kTilePixels * B * kBlock], sums[kTilePixels * B * kBlock];
    shape.set(span.n, span.n);
    multiply<B, true>(rows, group, block, place(rows, 0, group, row, span.column),
                      place(rows, 1, group, row, span.column), high, sums);
    for (std::size_t i = 0; i < span.n * B * kBlock; i += kLanes) {
      (shifted(Ints::load(high + i)) + Ints::load(sums + i)).store(sums + i);
    }
    Ending::run(rows, {group, block, B, row, span.column, span.n, sums});
  }

  template <std::size_t B, bool kSecond>
  LIC_FAST_TARGET static void pixels(const Rows& rows, std::size_t group, std::size_t block,
                                     std::size_t row, Span first, Span second, Shape& shape) {
    alignas(64) std::int32_t sums[2][kTilePixels * B * kBlock];
    shape.set(first.n, second.n);
    multiply<B, kSecond>(rows, group, block, place(rows, 0, group, row, first.column),
                         place(rows, 0, group, row, second.column), sums[0], sums[1]);
    Ending::run(rows, {group, block, B, row, first.column, first.n, sums[0]});
    if (kSecond) Ending::run(rows, {group, block, B, row, second.column, second.n, sums[1]});
  }

  /// What an output pixel's first tap reads.
  static const std::uint8_t* place(const Rows& rows, std::size_t half, std::size_t group,
                                   std::size_t row, std::size_t column) {
    const auto stride = static_cast<std::ptrdiff_t>(rows.problem.stride);
    return rows.x[half] + static_cast<std::ptrdiff_t>(row) * stride * rows.row +
           static_cast<std::ptrdiff_t>(column) * stride * rows.pixel +
           static_cast<std::ptrdiff_t>(group * rows.problem.weights.quads * kQuad);
  }

  /// Sums of the pixels at `x` and, if kSecond, of those at `y`: (pixels, B, kBlock).
  template <std::size_t B, bool kSecond>
  LIC_FAST_TARGET static void multiply(const Rows& rows, std::size_t group, std::size_t block,
                                       const std::uint8_t* x, const std::uint8_t* y,
                                       std::int32_t* x_sums, std::int32_t* y_sums) {
    const Weights& w = rows.problem.weights;
    const Weights::Runs runs = w.runs();
    const auto step = static_cast<std::ptrdiff_t>(rows.problem.stride) * rows.pixel;
    const std::int8_t* weights = w.tiles(group, block);
    const std::size_t next_block = w.tiles_size();
    _tile_zero(0);
    if constexpr (B == 2) _tile_zero(1);
    if constexpr (kSecond) _tile_zero(2);
    if constexpr (kSecond && B == 2) _tile_zero(3);
    for (std::size_t run = 0; run < runs.count; ++run) {
      const std::ptrdiff_t at = runs.whole_rows
                                    ? static_cast<std::ptrdiff_t>(run) * rows.row
                                    : static_cast<std::ptrdiff_t>(run / w.kernel) * rows.row +
                                          static_cast<std::ptrdiff_t>(run % w.kernel) * rows.pixel;
      for (std::size_t i = 0; i < runs.tiles; ++i, weights += kWeightTile) {
        const auto channel = at + static_cast<std::ptrdiff_t>(i * cpu::kTileBytes);
        _tile_loadd(6, weights, cpu::kTileBytes);
        if constexpr (B == 2) _tile_loadd(7, weights + next_block, cpu::kTileBytes);
        _tile_loadd(4, x + channel, step);
        _tile_dpbusd(0, 4, 6);
        if constexpr (B == 2) _tile_dpbusd(1, 4, 7);
        if constexpr (kSecond) {
          _tile_loadd(5, y + channel, step);
          _tile_dpbusd(2, 5, 6);
          if constexpr (B == 2) _tile_dpbusd(3, 5, 7);
        }
      }
    }
    constexpr std::size_t kBytes = B * kBlock * sizeof(std::int32_t);
    _tile_stored(0, x_sums, kBytes);
    if constexpr (B == 2) _tile_stored(1, x_sums + kBlock, kBytes);
    if constexpr (kSecond) _tile_stored(2, y_sums, kBytes);
    if constexpr (kSecond && B == 2) _tile_stored(3, y_sums + kBlock, kBytes);
  }
};
