// What follows the sums of a layer, for the instruction set of the file that includes this; see
// exact.inl.

/// The most pixels of a tile, of any instruction set.
constexpr std::size_t kTilePixels = 16;
static_assert(kPixels <= kTilePixels, "there is room for what is computed together");

/// The sums of some pixels of a row, and of `blocks` blocks of output channels of a group.
struct Tile {
  std::size_t group, block, blocks;
  std::size_t row, column, pixels;  // the row is one of the task's
  const std::int32_t* sums;         // (pixels, blocks, kBlock)
};

/// A block of output channels: where it begins, in padded arrays and in maps, and how many it has.
struct Channels {
  Channels(const Weights& w, const Tile& tile, std::size_t b)
      : padded((tile.group * w.blocks + tile.block + b) * kBlock),
        first(tile.group * w.group_out + (tile.block + b) * kBlock),
        count(std::min(kBlock, w.group_out - (tile.block + b) * kBlock)) {}
  std::size_t padded, first, count;
};

/// A tile's pixels of a block of channels: of a map, or in memory of the tile's own. Without a
/// place there is none.
template <class T>
struct Line {
  T* place = nullptr;
  std::ptrdiff_t step = 0;

  static Line of(const View<T>& map, const Rows& rows, const Tile& tile, const Channels& channels) {
    if (map.data == nullptr) return {};
    return {map.at(rows.image, rows.first + tile.row, tile.column) + channels.first, map.pixel};
  }
};

template <class From, class To>
void copy(Line<From> from, Line<To> to, std::size_t pixels, std::size_t channels) {
  for (std::size_t i = 0; i < pixels; ++i, from.place += from.step, to.place += to.step) {
    std::memcpy(to.place, from.place, channels * sizeof(To));
  }
}

struct Ending {
  LIC_FAST_TARGET static void run(const Rows& rows, const Tile& tile) {
    const Problem& p = rows.problem;
    for (std::size_t b = 0; b < tile.blocks; ++b) {
      const Channels channels(p.weights, tile, b);
      const Line<const std::int32_t> sums{tile.sums + b * kBlock,
                                          static_cast<std::ptrdiff_t>(tile.blocks * kBlock)};
      if (p.end == nullptr) {
        copy(sums, Line<std::int32_t>::of(p.sums, rows, tile, channels), tile.pixels,
             channels.count);
      } else {
        layer(rows, tile, channels, sums);
      }
    }
  }

 private:
  static constexpr auto kStep = static_cast<std::ptrdiff_t>(kBlock);

  /// Values first, to their map or aside, and then their activations. Channels that do not fill
  /// their block pass through memory that they do.
  LIC_FAST_TARGET static void layer(const Rows& rows, const Tile& tile, const Channels& channels,
                                    Line<const std::int32_t> sums) {
    const Problem& p = rows.problem;
    const End& end = *p.end;
    const bool whole = channels.count == kBlock;
    auto residual = Line<const float>::of(p.residual, rows, tile, channels);
    float added[kTilePixels * kBlock];
    if (residual.place != nullptr && !whole) {
      std::fill_n(added, kTilePixels * kBlock, 0.0f);
      copy(residual, Line<float>{added, kStep}, tile.pixels, channels.count);
      residual = {added, kStep};
    }
    const auto values = Line<float>::of(p.values, rows, tile, channels);
    float aside[kTilePixels * kBlock];
    const Line<float> v = values.place != nullptr && whole ? values : Line<float>{aside, kStep};
    evaluate(end, channels, sums, residual, tile.pixels, v);
    if (values.place != nullptr && !whole) copy(v, values, tile.pixels, channels.count);
    if (end.bits == 0) return;
    // Of 7 bits there is nothing but a low half.
    const bool halved = end.bits == 2 * kHalfBits;
    const Quantization quantization{end.inverse_step.data() + channels.padded,
                                    end.zero.data() + channels.padded, end.top()};
    const Line<std::uint8_t> maps[2] = {
        halved ? Line<std::uint8_t>::of(p.out[0], rows, tile, channels) : Line<std::uint8_t>{},
        Line<std::uint8_t>::of(p.out[halved ? 1 : 0], rows, tile, channels)};
    std::uint8_t parts[2][kTilePixels * kBlock];
    Line<std::uint8_t> halves[2];
    for (int i = 0; i < 2; ++i) {
      if (maps[i].place != nullptr)
        halves[i] = whole ? maps[i] : Line<std::uint8_t>{parts[i], kStep};
    }
    quantize(v, quantization, tile.pixels, halves[0], halves[1]);
    for (int i = 0; i < 2; ++i) {
      if (halves[i].place != nullptr && !whole) {
        copy(halves[i], maps[i], tile.pixels, channels.count);
      }
    }
  }

  LIC_FAST_TARGET static void evaluate(const End& end, const Channels& channels,
                                       Line<const std::int32_t> sums, Line<const float> residual,
                                       std::size_t pixels, Line<float> to) {
    switch (end.activation) {
      case Activation::kRelu:
        return evaluate<Activation::kRelu>(end, channels, sums, residual, pixels, to);
      case Activation::kLeakyRelu:
        return evaluate<Activation::kLeakyRelu>(end, channels, sums, residual, pixels, to);
      case Activation::kGelu:
        return evaluate<Activation::kGelu>(end, channels, sums, residual, pixels, to);
      default:
        return evaluate<Activation::kNone>(end, channels, sums, residual, pixels, to);
    }
  }

  template <Activation kActivation>
  LIC_FAST_TARGET static void evaluate(const End& end, const Channels& channels,
                                       Line<const std::int32_t> sums, Line<const float> residual,
                                       std::size_t pixels, Line<float> to) {
    if (residual.place == nullptr) {
      evaluate<kActivation, false>(end, channels, sums, residual, pixels, to);
    } else {
      evaluate<kActivation, true>(end, channels, sums, residual, pixels, to);
    }
  }

  template <Activation kActivation, bool kAdded>
  LIC_FAST_TARGET static void evaluate(const End& end, const Channels& channels,
                                       Line<const std::int32_t> sums, Line<const float> residual,
                                       std::size_t pixels, Line<float> to) {
    const std::int32_t* const bias = end.bias.data() + channels.padded;
    const float* const scale = end.scale.data() + channels.padded;
    for (std::size_t i = 0; i < pixels; ++i) {
      for (std::size_t lane = 0; lane < kBlock; lane += kLanes) {
        Floats v = Floats::sums(sums.place + lane, bias + lane) * Floats::load(scale + lane);
        if constexpr (kAdded) v = v + Floats::load(residual.place + lane);
        activated<kActivation>(v).store(to.place + lane);
      }
      sums.place += sums.step;
      to.place += to.step;
      if constexpr (kAdded) residual.place += residual.step;
    }
  }

  LIC_FAST_TARGET static void quantize(Line<float> v, const Quantization& q, std::size_t pixels,
                                       Line<std::uint8_t> high, Line<std::uint8_t> low) {
    if (high.place == nullptr) return quantize<false, true>(v, q, pixels, high, low);
    if (low.place == nullptr) return quantize<true, false>(v, q, pixels, high, low);
    quantize<true, true>(v, q, pixels, high, low);
  }

  template <bool kHigh, bool kLow>
  LIC_FAST_TARGET static void quantize(Line<float> v, Quantization q, std::size_t pixels,
                                       Line<std::uint8_t> high, Line<std::uint8_t> low) {
    for (std::size_t i = 0; i < pixels; ++i) {
      for (std::size_t lane = 0; lane < kBlock; lane += kLanes) {
        quantized(Floats::load(v.place + lane), q, lane)
            .store_halves(kHigh ? high.place + lane : nullptr, kLow ? low.place + lane : nullptr);
      }
      v.place += v.step;
      if constexpr (kHigh) high.place += high.step;
      if constexpr (kLow) low.place += low.step;
    }
  }
};
