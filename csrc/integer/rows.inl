// Some rows of a convolution, for the instruction set of the file that includes this.
//
// That file defines LIC_FAST_TARGET, the attribute of its functions, kPixels, how many pixels it
// computes together, kBlocks, how many blocks of output channels, and a struct Sums of kBlock int32
// with the operations used below. Everything is in the including file's unnamed namespace.

struct Kernel {
  LIC_FAST_TARGET static void run(const Rows& rows) {
    const Weights& w = rows.problem.weights;
    for (std::size_t group = 0; group < w.groups; ++group) {
      std::size_t block = 0;
      for (; block + kBlocks <= w.blocks; block += kBlocks) all<kBlocks>(rows, group, block);
      for (; block < w.blocks; ++block) all<1>(rows, group, block);
    }
  }

  /// All pixels, for some blocks of output channels.
  template <std::size_t B>
  LIC_FAST_TARGET static void all(const Rows& rows, std::size_t group, std::size_t block) {
    const std::size_t width = rows.problem.out_width();
    for (std::size_t row = 0; row < rows.count; ++row) {
      std::size_t column = 0;
      for (; column + kPixels <= width; column += kPixels) {
        tile<kPixels, B>(rows, group, block, row, column);
      }
      for (; column < width; ++column) tile<1, B>(rows, group, block, row, column);
    }
  }

  template <std::size_t P, std::size_t B>
  LIC_FAST_TARGET static void tile(const Rows& rows, std::size_t group, std::size_t block,
                                   std::size_t row, std::size_t column) {
    const Problem& p = rows.problem;
    const Weights& w = p.weights;
    Sums sums[P][B];
    for (std::size_t i = 0; i < P; ++i) {
      for (std::size_t b = 0; b < B; ++b) sums[i][b] = Sums::zero();
    }
    const std::size_t step = p.stride * rows.pixel;
    for (std::size_t half = 0; half < p.halves; ++half) {
      if (half == 1) {
        for (std::size_t i = 0; i < P; ++i) {
          for (std::size_t b = 0; b < B; ++b) sums[i][b] = shifted(sums[i][b]);
        }
      }
      const std::uint8_t* const corner =
          rows.x[half] + (row * p.stride * rows.padded_width + column * p.stride) * rows.pixel +
          group * w.quads * kQuad;
      const std::int8_t* weights = w.block(group, block);
      const std::size_t next_block = w.block_size();
      for (std::size_t tap = 0; tap < w.kernel * w.kernel; ++tap) {
        const std::uint8_t* const x =
            corner + (tap / w.kernel * rows.padded_width + tap % w.kernel) * rows.pixel;
        for (std::size_t quad = 0; quad < w.quads; ++quad) {
          typename Sums::Factors factors[B];
          for (std::size_t b = 0; b < B; ++b) factors[b] = Sums::load(weights + b * next_block);
          weights += kBlock * kQuad;
          for (std::size_t i = 0; i < P; ++i) {
            const auto four = Sums::four(x + i * step + quad * kQuad);
            for (std::size_t b = 0; b < B; ++b) sums[i][b] = added(sums[i][b], four, factors[b]);
          }
        }
      }
    }
    store<P, B>(rows, group, block, row, column, sums);
  }

  template <std::size_t P, std::size_t B>
  LIC_FAST_TARGET static void store(const Rows& rows, std::size_t group, std::size_t block,
                                    std::size_t row, std::size_t column, const Sums (&sums)[P][B]) {
    const Problem& p = rows.problem;
    const Weights& w = p.weights;
    for (std::size_t i = 0; i < P; ++i) {
      const std::size_t pixel =
          (rows.image * p.out_height() + rows.first + row) * p.out_width() + column + i;
      for (std::size_t b = 0; b < B; ++b) {
        const std::size_t channel = (block + b) * kBlock;
        std::int32_t* const out =
            p.out + pixel * w.out_channels + group * w.group_out + channel;
        std::int32_t whole[kBlock];
        const std::size_t count = std::min(kBlock, w.group_out - channel);
        if (count == kBlock) {
          sums[i][b].store(out);
        } else {
          sums[i][b].store(whole);
          std::memcpy(out, whole, count * sizeof(std::int32_t));
        }
      }
    }
  }
};
