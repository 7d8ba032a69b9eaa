// What follows the sums of a layer, for the instruction set of the file that includes this; see
// exact.inl.

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

/// A pixel's channels of a block in a map. If they do not fill the block, they are written aside
/// first. Null where there is no map.
template <class T>
struct Part {
  LIC_FAST_INLINE Part(const View<T>& map, std::size_t image, std::size_t y, std::size_t x,
                       const Channels& channels)
      : place(map.data == nullptr ? nullptr : map.at(image, y, x) + channels.first),
        count(channels.count) {}
  LIC_FAST_INLINE T* block() {
    return place == nullptr || count == kBlock ? place : static_cast<T*>(aside);
  }
  LIC_FAST_INLINE void put() const {
    if (place != nullptr && count != kBlock) std::memcpy(place, aside, count * sizeof(T));
  }

  T* place;
  std::size_t count;
  T aside[kBlock];
};

struct Ending {
  LIC_FAST_TARGET static void run(const Rows& rows, const Tile& tile) {
    if (rows.problem.end == nullptr) return store(rows, tile);
    switch (rows.problem.end->activation) {
      case Activation::kRelu:
        return layer<Activation::kRelu>(rows, tile);
      case Activation::kLeakyRelu:
        return layer<Activation::kLeakyRelu>(rows, tile);
      case Activation::kGelu:
        return layer<Activation::kGelu>(rows, tile);
      default:
        return layer<Activation::kNone>(rows, tile);
    }
  }

 private:
  static void store(const Rows& rows, const Tile& tile) {
    const Problem& p = rows.problem;
    for (std::size_t b = 0; b < tile.blocks; ++b) {
      const Channels channels(p.weights, tile, b);
      for (std::size_t i = 0; i < tile.pixels; ++i) {
        const std::int32_t* const sums = tile.sums + (i * tile.blocks + b) * kBlock;
        Part<std::int32_t> part(p.sums, rows.image, rows.first + tile.row, tile.column + i,
                                channels);
        std::memcpy(part.block(), sums, kBlock * sizeof(std::int32_t));
        part.put();
      }
    }
  }

  template <Activation kActivation>
  LIC_FAST_TARGET static void layer(const Rows& rows, const Tile& tile) {
    const Problem& p = rows.problem;
    const End& end = *p.end;
    const std::size_t y = rows.first + tile.row;
    for (std::size_t b = 0; b < tile.blocks; ++b) {
      const Channels channels(p.weights, tile, b);
      const std::int32_t* const bias = end.bias.data() + channels.padded;
      const float* const scale = end.scale.data() + channels.padded;
      const Quantization quantization =
          end.bits == 0 ? Quantization{}
                        : Quantization{end.inverse_step.data() + channels.padded,
                                       end.zero.data() + channels.padded, end.top()};
      for (std::size_t i = 0; i < tile.pixels; ++i) {
        const std::size_t x = tile.column + i;
        const std::int32_t* const sums = tile.sums + (i * tile.blocks + b) * kBlock;
        Part<float> values(p.values, rows.image, y, x, channels);
        Part<std::uint8_t> first(p.out[0], rows.image, y, x, channels);
        Part<std::uint8_t> second(p.out[1], rows.image, y, x, channels);
        // Of 7 bits there is nothing but a low half.
        std::uint8_t* const high = end.bits == kHalfBits ? nullptr : first.block();
        std::uint8_t* const low = end.bits == kHalfBits ? first.block() : second.block();
        float padded[kBlock];
        const float* residual = nullptr;
        if (p.residual.data != nullptr) {
          residual = p.residual.at(rows.image, y, x) + channels.first;
          if (channels.count != kBlock) {
            std::fill(padded, padded + kBlock, 0.0f);
            std::memcpy(padded, residual, channels.count * sizeof(float));
            residual = padded;
          }
        }
        for (std::size_t lane = 0; lane < kBlock; lane += kLanes) {
          Floats v = Floats::sums(sums + lane, bias + lane) * Floats::load(scale + lane);
          if (residual != nullptr) v = v + Floats::load(residual + lane);
          v = activated<kActivation>(v);
          if (end.bits == 0) {
            v.store(values.block() + lane);
          } else {
            quantized(v, quantization, lane)
                .store_halves(high == nullptr ? high : high + lane,
                              low == nullptr ? low : low + lane);
          }
        }
        values.put();
        first.put();
        second.put();
      }
    }
  }
};
