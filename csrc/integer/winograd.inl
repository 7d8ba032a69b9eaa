// A task of winograd.hpp, for the instruction set of the file that includes this.
//
// That file defines what end.inl and products.inl need; Bytes and Words, each of kWords;
// differences, products, `shifted`, `quotient` and `store` of Ints.

/// Tiles of 2 x 2 outputs: what their transforms do in one direction.
struct Two {
  static constexpr std::size_t kOut = 2, kSide = 4;
  static constexpr bool kTransformed = true;  // weights, before
  /// What the centres leave of the one element in which they do not cancel, modulo 2^16.
  static constexpr std::int16_t kCentres = INT16_MIN;

  LIC_FAST_TARGET LIC_FAST_INLINE static void inputs(const Words (&d)[kSide], Words (&to)[kSide]) {
    to[0] = d[0] - d[2];
    to[1] = d[1] + d[2];
    to[2] = d[2] - d[1];
    to[3] = d[1] - d[3];
  }
  LIC_FAST_TARGET LIC_FAST_INLINE static void outputs(const Ints (&m)[kSide], Ints (&to)[kOut]) {
    to[0] = m[0] + m[1] + m[2];
    to[1] = m[1] - m[2] - m[3];
  }
  template <std::size_t kRow, std::size_t kColumn>
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints divided(Ints x) {
    return quotient<2>(x);
  }
};

/// Tiles of 4 x 4 outputs, with the points 0, 1, -1, 2, -2 and infinity.
struct Four {
  static constexpr std::size_t kOut = 4, kSide = 6;
  static constexpr bool kTransformed = false;
  static constexpr std::int16_t kCentres = 36 * kNarrowCentre;

  LIC_FAST_TARGET LIC_FAST_INLINE static void inputs(const Words (&d)[kSide], Words (&to)[kSide]) {
    const Words even = d[4] - four_times(d[2]), odd = d[3] - four_times(d[1]);
    const Words near = d[4] - d[2], across = d[3] - d[1];
    const Words twice = across + across;
    to[0] = four_times(d[0] - d[2]) + near;
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = near + twice;
    to[4] = near - twice;
    to[5] = (d[5] - d[3]) - (twice + twice);
  }
  /// 4, 6, 6, 24, 24 and 1 times what G gives.
  LIC_FAST_TARGET LIC_FAST_INLINE static void weights(const Words (&g)[3], Words (&to)[kSide]) {
    const Words ends = g[0] + g[2], twice = g[1] + g[1], far = g[0] + four_times(g[2]);
    to[0] = g[0];
    to[1] = ends + g[1];
    to[2] = ends - g[1];
    to[3] = far + twice;
    to[4] = far - twice;
    to[5] = g[2];
  }
  /// 24, 12, 6 and 6 times the outputs.
  LIC_FAST_TARGET LIC_FAST_INLINE static void outputs(const Ints (&m)[kSide], Ints (&to)[kOut]) {
    const Ints one = m[1] + m[2], other = m[1] - m[2];
    const Ints two = m[3] + m[4], far = m[3] - m[4];
    const Ints first = m[0] + m[0] + m[0], last = m[5] + m[5] + m[5], ones = one + one;
    to[0] = (first + first) - (ones + ones) + two;
    to[1] = far - (other + other);
    to[2] = two - one;
    to[3] = (far + far) - other + (last + last);
  }
  template <std::size_t kRow, std::size_t kColumn>
  LIC_FAST_TARGET LIC_FAST_INLINE static Ints divided(Ints x) {
    constexpr int kPowers[] = {3, 2, 1, 1};
    return quotient<kPowers[kRow] + kPowers[kColumn]>(x * Ints::all(kInverseOf9));
  }

 private:
  /// Modulo 2^32.
  static constexpr std::int32_t kInverseOf9 = 0x38E38E39;

  LIC_FAST_TARGET LIC_FAST_INLINE static Words four_times(const Words& x) {
    const Words twice = x + x;
    return twice + twice;
  }
};

template <class Tiles>
struct Winograd {
  /// False if an activation is beyond 7 bits, and then outputs are missing.
  LIC_FAST_TARGET static bool run(const WinogradTask& task) {
    const Weights& w = task.problem.weights;
    const std::size_t of_group = (w.blocks + kUnit - 1) / kUnit;
    for (std::size_t unit = task.first_unit; unit < task.first_unit + task.units; ++unit) {
      const std::size_t group = unit / of_group;
      if ((unit == task.first_unit || unit % of_group == 0) && !transform(task, group)) {
        return false;
      }
      const std::size_t block = unit % of_group * kUnit;
      outputs(task, group, block, std::min(kUnit, w.blocks - block));
    }
    return true;
  }

 private:
  static constexpr std::size_t kOut = Tiles::kOut, kSide = Tiles::kSide;
  static constexpr std::size_t kPositions = kSide * kSide;

  /// Tiles side by side, of one row of them. `index` is that of the first one in the task.
  struct Strip {
    std::size_t index, image, row, column, count;
  };

  /// That from a task's tile on, with at most so many.
  static Strip strip_at(const WinogradTask& task, std::size_t index, std::size_t longest) {
    const std::size_t columns = (task.problem.width + kOut - 1) / kOut;
    const std::size_t rows = (task.problem.height + kOut - 1) / kOut;
    const std::size_t tile = task.first + index, column = tile % columns;
    return {index, tile / columns / rows, tile / columns % rows, column,
            std::min({longest, columns - column, task.count - index})};
  }

  // -- B^T d B --

  /// Tile by tile, all channels of each, although neighbours have pixels in common: these maps are
  /// in no near cache, and come from a far one faster in the order in which they lie there. Returns
  /// whether they are in range, and no vector: GCC 12 clears its upper half, however it is meant.
  LIC_FAST_TARGET static bool transform(const WinogradTask& task, std::size_t group) {
    Bytes seen = Bytes::zero();
    const std::size_t channels = task.problem.weights.group_in;
    for (std::size_t i = 0; i < task.count; ++i) {
      const Strip tile = strip_at(task, i, 1);
      const std::uint8_t* pixels[2][kSide][kSide];
      for (std::size_t half = 0; half < task.problem.halves; ++half) {
        for (std::size_t y = 0; y < kSide; ++y) {
          for (std::size_t x = 0; x < kSide; ++x) {
            pixels[half][y][x] =
                pixel(task.problem, half, tile.image, tile.row * kOut + y, tile.column * kOut + x) +
                group * channels;
          }
        }
      }
      std::int16_t* to = task.inputs + i * task.input_tile;
      for (const Plan::Piece& piece : task.plans[group].pieces) {
        const std::size_t first = piece.segment * kSegment;
        const std::size_t count = std::min(kSegment, channels - first);
        switch (piece.part) {
          case Part::kWhole:
            transform<true>(pixels, 0, first, count, task.input_position, to, seen);
            break;
          case Part::kLow:
            transform<false>(pixels, 1, first, count, task.input_position, to, seen);
            break;
          default:
            transform<false>(pixels, 0, first, count, task.input_position, to, seen);
        }
        to += kSegment;
      }
    }
    return seen.in_range();
  }

  /// The channels of a pixel, counted from the border on. What lies further beyond the edge, in the
  /// last tiles of a row or column, is read for outputs that are none, and may be anything.
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

  using Halves = const std::uint8_t* [2][kSide][kSide];

  /// Some channels, at most a segment, of one half or of both as one number.
  template <bool kWhole>
  LIC_FAST_TARGET static void transform(const Halves& pixels, std::size_t half, std::size_t first,
                                        std::size_t count, std::size_t position, std::int16_t* to,
                                        Bytes& seen) {
    std::size_t channel = 0;
    for (; channel + kWords <= count; channel += kWords) {
      transform<kWhole>(pixels[half], pixels[1], first + channel, position, to + channel, seen);
    }
    if (channel == count) return;
    // The last channels are few: nothing behind them may be read.
    std::uint8_t copies[2][kSide][kSide][kWords] = {};
    const std::uint8_t* places[2][kSide][kSide];
    for (std::size_t part = 0; part < (kWhole ? 2 : 1); ++part) {
      for (std::size_t y = 0; y < kSide; ++y) {
        for (std::size_t x = 0; x < kSide; ++x) {
          std::memcpy(copies[part][y][x], pixels[half + part][y][x] + first + channel,
                      count - channel);
          places[part][y][x] = copies[part][y][x];
        }
      }
    }
    transform<kWhole>(places[0], places[1], 0, position, to + channel, seen);
  }

  /// kWords channels of a tile: B^T from the left for each column of pixels, and then B from the
  /// right.
  template <bool kWhole>
  LIC_FAST_TARGET LIC_FAST_INLINE static void transform(
      const std::uint8_t* const (&high)[kSide][kSide],
      const std::uint8_t* const (&low)[kSide][kSide], std::size_t channel, std::size_t position,
      std::int16_t* to, Bytes& seen) {
    Words all[kSide][kSide];
    for (std::size_t x = 0; x < kSide; ++x) {
      Words d[kSide], column[kSide];
      for (std::size_t y = 0; y < kSide; ++y) {
        const Bytes one = Bytes::load(high[y][x] + channel);
        seen = seen | one;
        d[y] = Words::of(one);
        if constexpr (kWhole) {
          const Bytes other = Bytes::load(low[y][x] + channel);
          seen = seen | other;
          d[y] = shifted(d[y]) + Words::of(other);
        }
      }
      Tiles::inputs(d, column);
      for (std::size_t y = 0; y < kSide; ++y) all[y][x] = column[y];
    }
    for (std::size_t y = 0; y < kSide; ++y) {
      Words row[kSide];
      Tiles::inputs(all[y], row);
      // The only element in which the centres that were not subtracted do not cancel.
      if (kWhole && y == 1) row[1] = row[1] - Words::all(Tiles::kCentres);
      for (std::size_t x = 0; x < kSide; ++x, to += position) row[x].store(to);
    }
  }

  // -- Products of matrices --

  /// Blocks of output channels that are computed together.
  struct Blocks {
    std::size_t group, block;  // the first
    std::size_t place;         // in the task's memory
  };

  /// Calls `run` with each kWinogradBlocks of some blocks, and with those left over one by one, and
  /// their number as a constant.
  template <class Run>
  static void each(std::size_t group, std::size_t block, std::size_t count, const Run& run) {
    std::size_t place = 0;
    for (; place + kWinogradBlocks <= count; place += kWinogradBlocks) {
      run(std::integral_constant<std::size_t, kWinogradBlocks>(),
          Blocks{group, block + place, place});
    }
    if constexpr (kWinogradBlocks > 1) {
      for (; place < count; ++place) {
        run(std::integral_constant<std::size_t, 1>(), Blocks{group, block + place, place});
      }
    }
  }

  LIC_FAST_TARGET static void outputs(const WinogradTask& task, std::size_t group,
                                      std::size_t block, std::size_t count) {
    bool first = true;
    for (const Plan::Run& run : task.plans[group].runs) {
      if constexpr (!Tiles::kTransformed) transform_weights(task, run, group, block, count);
      // Position by position: its inputs are read for all blocks while they are in a near cache.
      for (std::size_t position = 0; position < kPositions; ++position) {
        each(group, block, count, [&](auto together, const Blocks& blocks) {
          multiply<together>(task, run, position, blocks, count);
        });
      }
      each(group, block, count, [&](auto together, const Blocks& blocks) {
        if (first) {
          sums<together, true>(task, run, blocks);
        } else {
          sums<together, false>(task, run, blocks);
        }
      });
      first = false;
    }
    each(group, block, count,
         [&](auto together, const Blocks& blocks) { end<together>(task, blocks); });
  }

  /// G g G^T of a run of some blocks.
  LIC_FAST_TARGET static void transform_weights(const WinogradTask& task, const Plan::Run& run,
                                                std::size_t group, std::size_t block,
                                                std::size_t count) {
    for (std::size_t b = 0; b < count; ++b) {
      const std::int8_t* taps = task.weights.taps(group, block + b, run.first);
      std::int16_t* to = task.own_weights + b * task.weights.block_size();
      for (std::size_t pair = 0; pair < run.count; ++pair) {
        for (std::size_t lane = 0; lane < kBlock * kPair; lane += kWords) {
          transform_weights(taps + lane, task.own_position, to + lane);
        }
        taps += kWinogradTaps * kBlock * kPair;
        to += kBlock * kPair;
      }
    }
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static void transform_weights(const std::int8_t* taps,
                                                                std::size_t position,
                                                                std::int16_t* to) {
    Words all[kSide][3];
    for (std::size_t x = 0; x < 3; ++x) {
      Words g[3], column[kSide];
      for (std::size_t y = 0; y < 3; ++y) {
        g[y] = Words::load(taps + (3 * y + x) * kBlock * kPair);
      }
      Tiles::weights(g, column);
      for (std::size_t y = 0; y < kSide; ++y) all[y][x] = column[y];
    }
    for (std::size_t y = 0; y < kSide; ++y) {
      Words row[kSide];
      Tiles::weights(all[y], row);
      for (std::size_t x = 0; x < kSide; ++x, to += position) row[x].store(to);
    }
  }

  template <std::size_t B>
  static std::size_t product_position(const WinogradTask& task) {
    return B * (task.product_block - kLine32) + kLine32;
  }
  static std::int32_t* products(const WinogradTask& task, const Blocks& blocks) {
    return task.products + blocks.place * kPositions * task.product_block;
  }
  static std::int32_t* all_sums(const WinogradTask& task, const Blocks& blocks) {
    return task.sums + blocks.place * kOut * kOut * (task.product_block - kLine32);
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void multiply(const WinogradTask& task, const Plan::Run& run,
                                       std::size_t position, const Blocks& blocks,
                                       std::size_t count) {
    const WinogradWeights& w = task.weights;
    const std::size_t left = count - blocks.place;
    const std::int16_t* weights = nullptr;
    if constexpr (Tiles::kTransformed) {
      weights = w.transformed(blocks.group, position, blocks.block) + run.first * kBlock * kPair;
    } else {
      weights = task.own_weights + position * task.own_position + blocks.place * w.block_size();
    }
    const std::size_t next = Tiles::kTransformed ? w.position_size() : task.own_position;
    const Products::Factors factors{
        task.inputs + position * task.input_position + run.piece * kSegment,
        task.input_tile,
        weights,
        w.block_size(),
        static_cast<std::ptrdiff_t>(left > B ? B * w.block_size()
                                             : next - blocks.place * w.block_size()),
        run.count,
        products(task, blocks) + position * product_position<B>(task)};
    Products::run<B>(factors, task.count);
  }

  // -- A^T M A --

  template <std::size_t B, bool kFirst>
  LIC_FAST_TARGET static void sums(const WinogradTask& task, const Plan::Run& run,
                                   const Blocks& blocks) {
    constexpr std::size_t kPixel = B * kBlock;
    // Of the sums: from a pixel's row to the next.
    const std::size_t row = task.count * kOut * kPixel, position = product_position<B>(task);
    const std::int32_t* const offsets =
        task.plans[blocks.group].offsets.data() + blocks.block * kBlock;
    for (std::size_t tile = 0; tile < task.count; ++tile) {
      for (std::size_t lane = 0; lane < kPixel; lane += kLanes) {
        const std::int32_t* const m = products(task, blocks) + tile * kPixel + lane;
        Ints rows[kOut][kSide];
        for (std::size_t x = 0; x < kSide; ++x) {
          Ints column[kSide], transformed[kOut];
          for (std::size_t y = 0; y < kSide; ++y) {
            column[y] = Ints::load(m + (y * kSide + x) * position);
          }
          Tiles::outputs(column, transformed);
          for (std::size_t y = 0; y < kOut; ++y) rows[y][x] = transformed[y];
        }
        std::int32_t* const to = all_sums(task, blocks) + tile * kOut * kPixel + lane;
        const bool high = run.part == Part::kHigh;
        store_rows<B, kFirst>(rows, to, row, offsets + lane, high,
                              std::make_index_sequence<kOut>());
      }
    }
  }

  template <std::size_t B, bool kFirst, std::size_t... Y>
  LIC_FAST_TARGET LIC_FAST_INLINE static void store_rows(const Ints (&rows)[kOut][kSide],
                                                         std::int32_t* to, std::size_t row,
                                                         const std::int32_t* offsets, bool high,
                                                         std::index_sequence<Y...>) {
    (store_row<B, kFirst, Y>(rows[Y], to + Y * row, offsets, high,
                             std::make_index_sequence<kOut>()),
     ...);
  }

  template <std::size_t B, bool kFirst, std::size_t kRow, std::size_t... X>
  LIC_FAST_TARGET LIC_FAST_INLINE static void store_row(const Ints (&m)[kSide], std::int32_t* to,
                                                        const std::int32_t* offsets, bool high,
                                                        std::index_sequence<X...>) {
    Ints all[kOut];
    Tiles::outputs(m, all);
    (store<kFirst>(Tiles::template divided<kRow, X>(all[X]), to + X * B * kBlock, offsets, high),
     ...);
  }

  template <bool kFirst>
  LIC_FAST_TARGET LIC_FAST_INLINE static void store(Ints sum, std::int32_t* to,
                                                    const std::int32_t* offsets, bool high) {
    const Ints before = Ints::load(kFirst ? offsets : to);
    (before + (high ? shifted(sum) : sum)).store(to);
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void end(const WinogradTask& task, const Blocks& blocks) {
    const Problem& p = task.problem;
    Strip strip{};
    for (std::size_t i = 0; i < task.count; i += strip.count) {
      strip = strip_at(task, i, task.count);
      const Rows rows{p, strip.image, strip.row * kOut, kOut, 0, 0, {}};
      const std::size_t left = strip.column * kOut;
      const std::size_t width = std::min(kOut * strip.count, p.width - left);
      for (std::size_t row = 0; row < kOut && rows.first + row < p.height; ++row) {
        const std::int32_t* const sums =
            all_sums(task, blocks) + kOut * (row * task.count + i) * B * kBlock;
        for (std::size_t x = 0; x < width; x += kPixels) {
          Ending::run(rows, {blocks.group, blocks.block, B, row, left + x,
                             std::min(kPixels, width - x), sums + x * B * kBlock});
        }
      }
    }
  }
};
