// Some rows of a convolution, for the instruction set of the file that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, kPixels, how many pixels it
// computes together, kBlocks, how many blocks of output channels, and a struct Sums of kBlock int32
// with the operations used below, and includes end.inl before. Everything is in the including
// file's unnamed namespace.

struct Kernel {
  LIC_FAST_TARGET static void run(const Rows& rows) {
    const Weights& w = rows.problem.weights;
    for (std::size_t group = 0; group < w.groups; ++group) {
      std::size_t block = 0;
      for (; block + kBlocks <= w.blocks; block += kBlocks) all<kBlocks>(rows, group, block);
      for (; block < w.blocks; ++block) all<1>(rows, group, block);
    }
  }

 private:
  using TileKernel = void (*)(const Rows& rows, const Tile& tile);

  /// The functions for 1 to sizeof...(P) pixels.
  template <std::size_t B, std::size_t... P>
  static TileKernel tile_of(std::size_t pixels, std::index_sequence<P...>) {
    static constexpr TileKernel kTiles[] = {&tile<P + 1, B>...};
    return kTiles[pixels - 1];
  }

  /// All pixels, for some blocks of output channels. Tiles of a row differ by one pixel at most:
  /// a narrow one costs nearly what a whole one does.
  template <std::size_t B>
  LIC_FAST_TARGET static void all(const Rows& rows, std::size_t group, std::size_t block) {
    const std::size_t width = rows.problem.out_width();
    const std::size_t tiles = (width + kPixels - 1) / kPixels;
    for (std::size_t row = 0; row < rows.count; ++row) {
      for (std::size_t i = 0; i < tiles; ++i) {
        const std::size_t column = width * i / tiles, end = width * (i + 1) / tiles;
        tile_of<B>(end - column, std::make_index_sequence<kPixels>())(
            rows, {group, block, B, row, column, end - column, nullptr});
      }
    }
  }

  template <std::size_t P, std::size_t B>
  LIC_FAST_TARGET static void tile(const Rows& rows, const Tile& place) {
    const Problem& p = rows.problem;
    const Weights& w = p.weights;
    Sums sums[P][B];
    for (std::size_t i = 0; i < P; ++i) {
      for (std::size_t b = 0; b < B; ++b) sums[i][b] = Sums::zero();
    }
    const std::ptrdiff_t step = static_cast<std::ptrdiff_t>(p.stride) * rows.pixel;
    const std::ptrdiff_t corner = static_cast<std::ptrdiff_t>(place.row * p.stride) * rows.row +
                                  static_cast<std::ptrdiff_t>(place.column) * step +
                                  static_cast<std::ptrdiff_t>(place.group * w.quads * kQuad);
    for (std::size_t half = 0; half < p.halves; ++half) {
      if (half == 1) {
        for (std::size_t i = 0; i < P; ++i) {
          for (std::size_t b = 0; b < B; ++b) sums[i][b] = shifted(sums[i][b]);
        }
      }
      const std::int8_t* weights = w.block(place.group, place.block);
      const std::size_t next_block = w.block_size();
      for (std::size_t tap = 0; tap < w.kernel * w.kernel; ++tap) {
        const std::uint8_t* const x = rows.x[half] + corner +
                                      static_cast<std::ptrdiff_t>(tap / w.kernel) * rows.row +
                                      static_cast<std::ptrdiff_t>(tap % w.kernel) * rows.pixel;
        // Few enough pointers for the registers: three pixels are within reach of each.
        constexpr std::size_t kReach = 3;
        const std::uint8_t* anchors[(P + kReach - 1) / kReach];
        for (std::size_t i = 0; i < P; i += kReach) {
          anchors[i / kReach] = x + static_cast<std::ptrdiff_t>(i) * step;
        }
        for (std::size_t quad = 0; quad < w.quads; ++quad) {
          typename Sums::Factors factors[B];
          for (std::size_t b = 0; b < B; ++b) factors[b] = Sums::load(weights + b * next_block);
          weights += kBlock * kQuad;
          for (std::size_t i = 0; i < P; ++i) {
            const auto four =
                Sums::four(anchors[i / kReach] + static_cast<std::ptrdiff_t>(i % kReach) * step);
            for (std::size_t b = 0; b < B; ++b) sums[i][b] = added(sums[i][b], four, factors[b]);
          }
          for (const std::uint8_t*& anchor : anchors) anchor += kQuad;
        }
      }
    }
    // Through the first cache, which is free beside the above.
    alignas(64) std::int32_t stored[P][B][kBlock];
    for (std::size_t i = 0; i < P; ++i) {
      for (std::size_t b = 0; b < B; ++b) sums[i][b].store(stored[i][b]);
    }
    Tile done = place;
    done.sums = stored[0][0];
    Ending::run(rows, done);
  }
};
