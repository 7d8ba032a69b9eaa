// Products of matrices of words of 16 bits, for the instruction set of the file that includes this
// and defines kTiles and kWinogradBlocks, how many rows are multiplied together with how many
// blocks of output channels; `pair`, `load` of int16 and `with_products` of Sums; `prefetch`.

struct Products {
  struct Factors {
    const std::int16_t* x;
    std::size_t row;  // elements from one to the next
    const std::int16_t* weights;
    std::size_t block;    // elements from one to the next
    std::ptrdiff_t next;  // and to what is multiplied next
    std::size_t pairs;
    std::int32_t* to;  // (rows, B, kBlock)
  };

  /// Some rows times B blocks, in parts of rows that differ by one at most: to read the weights
  /// takes longer than to multiply them with one row or two.
  template <std::size_t B>
  LIC_FAST_TARGET static void run(Factors factors, std::size_t rows) {
    const std::size_t parts = (rows + kTiles - 1) / kTiles;
    const std::size_t few = rows / parts, larger = rows % parts;
    constexpr auto kSizes = std::make_index_sequence<kTiles>();
    if (larger > 0) {
      multiply_of<B>(few + 1, kSizes)(factors, larger);
      factors.x += larger * (few + 1) * factors.row;
      factors.to += larger * (few + 1) * B * kBlock;
    }
    multiply_of<B>(few, kSizes)(factors, parts - larger);
  }

 private:
  using Multiply = void (*)(Factors factors, std::size_t parts);

  /// The functions for parts of 1 to sizeof...(P) rows.
  template <std::size_t B, std::size_t... P>
  static Multiply multiply_of(std::size_t rows, std::index_sequence<P...>) {
    static constexpr Multiply kFunctions[] = {&multiply<P + 1, B>...};
    return kFunctions[rows - 1];
  }

  /// `parts` times P rows.
  template <std::size_t P, std::size_t B>
  LIC_FAST_TARGET static void multiply(Factors f, std::size_t parts) {
    for (std::size_t part = 0; part < parts; ++part) {
      Sums sums[P][B];
      for (std::size_t i = 0; i < P; ++i) {
        for (std::size_t b = 0; b < B; ++b) sums[i][b] = Sums::zero();
      }
      // Few enough pointers for the registers: three rows are within reach of each.
      constexpr std::size_t kReach = 3;
      const std::int16_t* anchors[(P + kReach - 1) / kReach];
      for (std::size_t i = 0; i < P; i += kReach) anchors[i / kReach] = f.x + i * f.row;
      const std::int16_t* weights = f.weights;
      // The next weights come from far while these are used for the last time. Behind the last
      // position there are others or none, and nothing is read.
      const bool last = part + 1 == parts;
      for (std::size_t pair = 0; pair < f.pairs; ++pair) {
        decltype(Sums::load(weights)) all[B];
        for (std::size_t b = 0; b < B; ++b) all[b] = Sums::load(weights + b * f.block);
        if (last) {
          for (std::size_t b = 0; b < B; ++b) prefetch(weights + b * f.block + f.next);
        }
        weights += kBlock * kPair;
        for (std::size_t i = 0; i < P; ++i) {
          const auto two = Sums::pair(anchors[i / kReach] + i % kReach * f.row);
          for (std::size_t b = 0; b < B; ++b) sums[i][b] = with_products(sums[i][b], two, all[b]);
        }
        for (const std::int16_t*& anchor : anchors) anchor += kPair;
      }
      for (std::size_t i = 0; i < P; ++i) {
        for (std::size_t b = 0; b < B; ++b) sums[i][b].store(f.to + (i * B + b) * kBlock);
      }
      f.x += P * f.row;
      f.to += P * B * kBlock;
    }
  }
};
