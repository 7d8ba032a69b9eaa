// Some rows of a 1 x 1 convolution of activations of 14 bits, as words of 16 bits: where an
// instruction set multiplies pairs of these faster than twice as many halves. It computes what
// rows.inl does, which has the requirements; Bytes and Words are those of winograd.inl.

struct Pointwise {
  LIC_FAST_TARGET static void run(const Rows& rows) {
    const Weights& w = rows.problem.weights;
    const std::size_t width = rows.problem.out_width();
    // Of a pixel: room for whole vectors.
    const std::size_t pixel = (w.quads * kQuad + kWords - 1) / kWords * kWords;
    static thread_local cpu::Lines<std::int16_t> words;
    static thread_local cpu::Lines<std::int32_t> sums;
    if (words.size() < rows.count * width * pixel) words.resize(rows.count * width * pixel);
    if (sums.size() < width * kWinogradBlocks * kBlock) {
      sums.resize(width * kWinogradBlocks * kBlock);
    }
    for (std::size_t group = 0; group < w.groups; ++group) {
      read(rows, group, pixel, words.data());
      std::size_t block = 0;
      for (; block + kWinogradBlocks <= w.blocks; block += kWinogradBlocks) {
        blocks<kWinogradBlocks>(rows, group, block, words.data(), pixel, sums.data());
      }
      for (; block < w.blocks; ++block) {
        blocks<1>(rows, group, block, words.data(), pixel, sums.data());
      }
    }
  }

 private:
  /// A group's activations.
  LIC_FAST_TARGET static void read(const Rows& rows, std::size_t group, std::size_t pixel,
                                   std::int16_t* to) {
    const Problem& p = rows.problem;
    const std::size_t width = p.out_width(), channels = p.weights.group_in;
    const auto stride = static_cast<std::ptrdiff_t>(p.stride);
    for (std::size_t row = 0; row < rows.count; ++row) {
      for (std::size_t x = 0; x < width; ++x, to += pixel) {
        const std::ptrdiff_t place = static_cast<std::ptrdiff_t>(row) * stride * rows.row +
                                     static_cast<std::ptrdiff_t>(x) * stride * rows.pixel +
                                     static_cast<std::ptrdiff_t>(group * p.weights.quads * kQuad);
        const std::uint8_t *high = rows.x[0] + place, *low = rows.x[1] + place;
        std::size_t channel = 0;
        for (; channel + kWords <= channels; channel += kWords) {
          word(Bytes::load(high + channel), Bytes::load(low + channel)).store(to + channel);
        }
        if (channel == channels) continue;
        // The last channels are few: nothing behind them may be read.
        std::uint8_t copies[2][kWords] = {};
        std::memcpy(copies[0], high + channel, channels - channel);
        std::memcpy(copies[1], low + channel, channels - channel);
        word(Bytes::load(copies[0]), Bytes::load(copies[1])).store(to + channel);
      }
    }
  }

  LIC_FAST_TARGET LIC_FAST_INLINE static Words word(const Bytes& high, const Bytes& low) {
    return shifted(Words::of(high)) + Words::of(low);
  }

  template <std::size_t B>
  LIC_FAST_TARGET static void blocks(const Rows& rows, std::size_t group, std::size_t block,
                                     const std::int16_t* words, std::size_t pixel,
                                     std::int32_t* sums) {
    const Weights& w = rows.problem.weights;
    const std::size_t width = rows.problem.out_width(), size = w.quads * kQuad * kBlock;
    for (std::size_t row = 0; row < rows.count; ++row) {
      Products::run<B>({words + row * width * pixel, pixel, w.words(group, block), size,
                        static_cast<std::ptrdiff_t>(B * size), w.quads * kQuad / kPair, sums},
                       width);
      for (std::size_t x = 0; x < width; x += kPixels) {
        Ending::run(rows,
                    {group, block, B, row, x, std::min(kPixels, width - x), sums + x * B * kBlock});
      }
    }
  }
};
