// A task of winograd.hpp, for the instruction set of the file that includes this.
//
// That file defines what end.inl needs; kTiles and kWinogradBlocks, how many tiles are multiplied
// together with how many blocks of output channels; Bytes and Words, each of kWords; `pair`, `load`
// of int16 and `with_products` of Sums; differences, `store` and `quarter` of Ints; `prefetch`.

struct Winograd {
  /// False if an activation is beyond 7 bits, and then outputs are missing.
  LIC_FAST_TARGET static bool run(const WinogradTask& task) {
    const Weights& w = task.problem.weights;
    const std::size_t of_group = (w.blocks + kUnit - 1) / kUnit;
    for (std::size_t unit = task.first_unit; unit < task.first_unit + task.units; ++unit) {
      const std::size_t group = unit / of_group;
      if (unit == task.first_unit || unit % of_group == 0) {
        const bool in_range =
            task.problem.halves == 2 ? transform<2>(task, group) : transform<1>(task, group);
        if (!in_range) return false;
      }
      std::size_t block = unit % of_group * kUnit;
      const std::size_t end = std::min(block + kUnit, w.blocks);
      for (; block + kWinogradBlocks <= end; block += kWinogradBlocks) {
        outputs<kWinogradBlocks>(task, group, block);
      }
      for (; block < end; ++block) outputs<1>(task, group, block);
    }
    return true;
  }

 private:
  /// Tiles side by side, of one row of them. `index` is that of the first one in the task.
  struct Strip {
    std::size_t index, image, row, column, count;
  };

  /// That from a task's tile on, with at most so many.
  static Strip strip_at(const WinogradTask& task, std::size_t index, std::size_t longest) {
    const std::size_t columns = (task.problem.width + kTileSide - 1) / kTileSide;
    const std::size_t rows = (task.problem.height + kTileSide - 1) / kTileSide;
    const std::size_t tile = task.first + index, column = tile % columns;
    return {index, tile / columns / rows, tile / columns % rows, column,
            std::min({longest, columns - column, task.count - index})};
  }

  // -- B^T d B --

  static constexpr std::size_t kSide = 4;  // of what a tile's outputs depend on
  template <std::size_t kHalves>
  using Pixels = const std::uint8_t* [kSide][kSide][kHalves];

  /// Tile by tile, all channels of each, although neighbours have pixels in common: these maps are
  /// in no near cache, and come from a far one faster in the order in which they lie there. Returns
  /// whether they are in range, and no vector: GCC 12 clears its upper half, however it is meant.
  template <std::size_t kHalves>
  LIC_FAST_TARGET static bool transform(const WinogradTask& task, std::size_t group) {
    Bytes seen = Bytes::zero();
    const std::size_t channels = task.problem.weights.group_in;
    for (std::size_t i = 0; i < task.count; ++i) {
      const Strip tile = strip_at(task, i, 1);
      Pixels<kHalves> pixels;
      for (std::size_t y = 0; y < kSide; ++y) {
        for (std::size_t x = 0; x < kSide; ++x) {
          for (std::size_t half = 0; half < kHalves; ++half) {
            pixels[y][x][half] = pixel(task.problem, half, tile.image, tile.row * kTileSide + y,
                                       tile.column * kTileSide + x) +
                                 group * channels;
          }
        }
      }
      std::int16_t* const to = task.inputs + i * task.input_tile;
      std::size_t channel = 0;
      for (; channel + kWords <= channels; channel += kWords) {
        transform<kHalves>(pixels, channel, task.input_position, to + channel, seen);
      }
      if (channel == channels) continue;
      // The last channels are few: nothing behind them may be read.
      std::uint8_t copies[kSide][kSide][kHalves][kWords] = {};
      for (std::size_t y = 0; y < kSide; ++y) {
        for (std::size_t x = 0; x < kSide; ++x) {
          for (std::size_t half = 0; half < kHalves; ++half) {
            std::memcpy(copies[y][x][half], pixels[y][x][half] + channel, channels - channel);
            pixels[y][x][half] = copies[y][x][half];
          }
        }
      }
      transform<kHalves>(pixels, 0, task.input_position, to + channel, seen);
    }
    return seen.in_range();
  }

  /// The channels of a pixel, counted from the border on. What lies two beyond the edge, in the
  /// last tile of an odd side, is read for outputs that are none, and may be anything.
  LIC_FAST_TARGET static const std::uint8_t* pixel(const Problem& p, std::size_t half,
                                                   std::size_t image, std::size_t y,
                                                   std::size_t x) {
    y = std::min(y, p.height + 1);
    x = std::min(x, p.width + 1);
    const bool inside = y - 1 < p.height && x - 1 < p.width;
    if (!inside && !p.bordered) return p.border[half];
    const auto signed_of = [](std::size_t i) { return static_cast<std::ptrdiff_t>(i) - 1; };
    return p.x[half].at(static_cast<std::ptrdiff_t>(image), signed_of(y), signed_of(x));
  }

  /// kWords channels of a tile: B^T from the left for each column of pixels, and then B from the
  /// right.
  template <std::size_t kHalves>
  LIC_FAST_TARGET LIC_FAST_INLINE static void transform(const Pixels<kHalves>& pixels,
                                                        std::size_t channel, std::size_t position,
                                                        std::int16_t* to, Bytes& seen) {
    Words all[kSide][kSide];
    for (std::size_t x = 0; x < kSide; ++x) {
      Words d[kSide];
      for (std::size_t y = 0; y < kSide; ++y) {
        const Bytes high = Bytes::load(pixels[y][x][0] + channel);
        seen = seen | high;
        d[y] = Words::of(high);
        if constexpr (kHalves == 2) {
          const Bytes low = Bytes::load(pixels[y][x][1] + channel);
          seen = seen | low;
          d[y] = shifted(d[y]) + Words::of(low);
        }
      }
      all[0][x] = d[0] - d[2];
      all[1][x] = d[1] + d[2];
      all[2][x] = d[2] - d[1];
      all[3][x] = d[1] - d[3];
    }
    for (std::size_t y = 0; y < kSide; ++y, to += kSide * position) {
      const Words(&d)[kSide] = all[y];
      (d[0] - d[2]).store(to);
      // The only element in which the centres that were not subtracted do not cancel.
      const Words sum = d[1] + d[2];
      (kHalves == 2 && y == 1 ? without_centres(sum) : sum).store(to + position);
      (d[2] - d[1]).store(to + 2 * position);
      (d[1] - d[3]).store(to + 3 * position);
    }
  }

  // -- Products of matrices --

  /// `parts` times so many tiles that are multiplied together.
  struct Factors {
    const std::int16_t* x;
    std::size_t tile;  // elements from one to the next
    const std::int16_t* weights;
    std::size_t block;  // elements from one to the next
    std::size_t pairs;
    std::int32_t* to;
  };
  using Multiply = void (*)(Factors factors, std::size_t parts);

  /// The functions for parts of 1 to sizeof...(P) tiles.
  template <std::size_t B, std::size_t... P>
  static Multiply multiply_of(std::size_t tiles, std::index_sequence<P...>) {
    static constexpr Multiply kFunctions[] = {&multiply<P + 1, B>...};
    return kFunctions[tiles - 1];
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void outputs(const WinogradTask& task, std::size_t group,
                                      std::size_t block) {
    // In numbers of tiles that differ by one at most: to read the weights takes longer than to
    // multiply them with one tile or two.
    const std::size_t parts = (task.count + kTiles - 1) / kTiles;
    const std::size_t few = task.count / parts, larger = task.count % parts;
    bool first = true;
    for (const WinogradWeights::Run& run : task.weights.runs(group)) {
      for (std::size_t position = 0; position < kPositions; ++position) {
        Factors factors{task.inputs + position * task.input_position + run.first * kPair,
                        task.input_tile,
                        task.weights.data(group, block, run, position),
                        task.weights.block_size(),
                        run.count,
                        task.products + position * task.product_position};
        constexpr auto kSizes = std::make_index_sequence<kTiles>();
        if (larger > 0) {
          multiply_of<B>(few + 1, kSizes)(factors, larger);
          factors.x += larger * (few + 1) * factors.tile;
          factors.to += larger * (few + 1) * B * kBlock;
        }
        multiply_of<B>(few, kSizes)(factors, parts - larger);
      }
      const std::int32_t* const offsets =
          task.problem.halves == 2 ? task.weights.offsets(group, block) : nullptr;
      first ? sums<B, true>(task, offsets) : sums<B, false>(task, offsets);
      first = false;
    }
    end<B>(task, group, block);
  }

  /// P tiles times B blocks of output channels, at one position.
  template <std::size_t P, std::size_t B>
  LIC_FAST_TARGET static void multiply(Factors f, std::size_t parts) {
    for (std::size_t part = 0; part < parts; ++part) {
      Sums sums[P][B];
      for (std::size_t i = 0; i < P; ++i) {
        for (std::size_t b = 0; b < B; ++b) sums[i][b] = Sums::zero();
      }
      // Few enough pointers for the registers: three tiles are within reach of each.
      constexpr std::size_t kReach = 3;
      const std::int16_t* anchors[(P + kReach - 1) / kReach];
      for (std::size_t i = 0; i < P; i += kReach) anchors[i / kReach] = f.x + i * f.tile;
      const std::int16_t* weights = f.weights;
      // The next position's weights come from far while these are used for the last time. Behind
      // the last position there are others or none, and nothing is read.
      const bool last = part + 1 == parts;
      const std::size_t next = f.pairs * kBlock * kPair;
      for (std::size_t pair = 0; pair < f.pairs; ++pair) {
        decltype(Sums::load(weights)) all[B];
        for (std::size_t b = 0; b < B; ++b) all[b] = Sums::load(weights + b * f.block);
        if (last) {
          for (std::size_t b = 0; b < B; ++b) prefetch(weights + b * f.block + next);
        }
        weights += kBlock * kPair;
        for (std::size_t i = 0; i < P; ++i) {
          const auto two = Sums::pair(anchors[i / kReach] + i % kReach * f.tile);
          for (std::size_t b = 0; b < B; ++b) sums[i][b] = with_products(sums[i][b], two, all[b]);
        }
        for (const std::int16_t*& anchor : anchors) anchor += kPair;
      }
      for (std::size_t i = 0; i < P; ++i) {
        for (std::size_t b = 0; b < B; ++b) sums[i][b].store(f.to + (i * B + b) * kBlock);
      }
      f.x += P * f.tile;
      f.to += P * B * kBlock;
    }
  }

  // -- A^T M A --

  template <std::size_t B, bool kFirst>
  LIC_FAST_TARGET static void sums(const WinogradTask& task, const std::int32_t* offsets) {
    constexpr std::size_t kPixel = B * kBlock;
    // Of the sums: from a pixel's row to the next.
    const std::size_t row = task.count * kTileSide * kPixel;
    for (std::size_t tile = 0; tile < task.count; ++tile) {
      for (std::size_t lane = 0; lane < kPixel; lane += kLanes) {
        const std::int32_t* const m = task.products + tile * kPixel + lane;
        Ints top[kSide], bottom[kSide];
        for (std::size_t x = 0; x < kSide; ++x) {
          Ints column[kSide];
          for (std::size_t y = 0; y < kSide; ++y) {
            column[y] = Ints::load(m + (y * kSide + x) * task.product_position);
          }
          top[x] = column[0] + column[1] + column[2];
          bottom[x] = column[1] - column[2] - column[3];
        }
        std::int32_t* const to = task.sums + tile * kTileSide * kPixel + lane;
        Ints before[kTileSide * kTileSide];
        for (std::size_t i = 0; i < kTileSide * kTileSide; ++i) {
          if (kFirst) {
            before[i] = offsets == nullptr ? Ints::zero() : Ints::load(offsets + lane);
          } else {
            before[i] = Ints::load(to + i / kTileSide * row + i % kTileSide * kPixel);
          }
        }
        (before[0] + quarter(top[0] + top[1] + top[2])).store(to);
        (before[1] + quarter(top[1] - top[2] - top[3])).store(to + kPixel);
        (before[2] + quarter(bottom[0] + bottom[1] + bottom[2])).store(to + row);
        (before[3] + quarter(bottom[1] - bottom[2] - bottom[3])).store(to + row + kPixel);
      }
    }
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void end(const WinogradTask& task, std::size_t group, std::size_t block) {
    const Problem& p = task.problem;
    Strip strip{};
    for (std::size_t i = 0; i < task.count; i += strip.count) {
      strip = strip_at(task, i, task.count);
      const Rows rows{p, strip.image, strip.row * kTileSide, kTileSide, 0, 0, {}};
      const std::size_t left = strip.column * kTileSide;
      const std::size_t width = std::min(kTileSide * strip.count, p.width - left);
      for (std::size_t row = 0; row < kTileSide && rows.first + row < p.height; ++row) {
        const std::int32_t* const sums =
            task.sums + kTileSide * (row * task.count + i) * B * kBlock;
        for (std::size_t x = 0; x < width; x += kPixels) {
          Ending::run(rows, {group, block, B, row, left + x, std::min(kPixels, width - x),
                             sums + x * B * kBlock});
        }
      }
    }
  }
};
