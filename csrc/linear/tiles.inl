// Linear maps of rows of bfloat16 by tiles of AMX, for the file that includes this as rows.inl
// asks. An instruction multiplies 16 rows, of 32 inputs each, by a panel, in a sixteenth of the
// time that vectors take, and so what stands around the products is most of the work: it is
// tiles_rows.inl. Nothing is gained by doing that while tiles multiply: processors of today that
// have both do one or the other.

#include "linear/around.inl"
// What is done to rows of bfloat16 around products of tiles.
#include "linear/tiles_rows.inl"

class Tiles {
 public:
  LIC_FAST_TARGET explicit Tiles(const Problem& problem) : p_(problem) {
    cpu::TileShapes shapes;
    for (std::size_t i = 0; i < 8; ++i) shapes.set(i, cpu::kTileRows, cpu::kTileBytes);
    shapes.apply();
  }

  /// Computes rows first to last - 1, and gives the tiles back.
  LIC_FAST_TARGET void run(std::size_t first, std::size_t last) {
    std::size_t weights = p_.first.panels() * p_.first.panel_size();
    if (p_.second != nullptr) weights += p_.second->panels() * p_.second->panel_size();
    const std::size_t rows = weights * sizeof(T) > kCached ? kMostRows : kMostRows / 2;
    for (; first < last; first += rows) block(first, std::min(rows, last - first), rows);
    _tile_release();
  }

 private:
  using T = std::uint16_t;
  using Ends = End<T>;

  // Rows that are in work together: few are written sooner as whole rows, but more of them share
  // weights that come from beyond a second-level cache, of which such are this many bytes.
  static constexpr std::size_t kMostRows = kTilesBlock, kCached = std::size_t{1} << 20;
  static constexpr std::size_t kTile = cpu::kTileRows * kPanel;

  /// Rows that are multiplied: whole tiles of them can be read.
  struct Operand {
    const T* data;
    std::size_t stride;
  };

  const Problem& p_;
  alignas(64) float sums_[4 * kTile];  // of two tiles of rows by two panels
  std::size_t asked_ = 0;              // the first row that was not asked for

  static const T* row(const Rows<const void>& rows, std::size_t i) {
    return static_cast<const T*>(rows.data) + i * rows.stride;
  }
  static T* row(const Rows<void>& rows, std::size_t i) {
    return static_cast<T*>(rows.data) + i * rows.stride;
  }

  /// Numbers from one row to the next where they are this kernel's: an odd number of cache lines,
  /// so that rows do not share a few places of a cache.
  static std::size_t row_size(const Weights& w) {
    return w.depth() / kTileDepth % 2 == 0 ? w.depth() + kTileDepth : w.depth();
  }

  LIC_FAST_TARGET void block(std::size_t first, std::size_t count, std::size_t next) {
    static thread_local cpu::Lines<T> inputs, hidden;
    Operand in{row(p_.x, first), p_.x.stride};
    if (p_.before != Before::kNothing || p_.first.depth() != p_.first.inputs ||
        count % cpu::kTileRows != 0) {
      const std::size_t size = row_size(p_.first);
      T* const to = cpu::scratch(inputs, kMostRows * size);
      prepare_rows(p_, in.data, in.stride, count, to, size, p_.first.depth());
      in = {to, size};
    }
    const Weights& last = p_.second == nullptr ? p_.first : *p_.second;
    const Ends end{row(p_.out, first), p_.out.stride, last.outputs,
                   p_.residual.data == nullptr ? nullptr : row(p_.residual, first),
                   p_.residual.stride};
    asked_ = first + next;
    if (p_.second == nullptr) return map(p_.first, in, count, p_.after, p_.activation, end);
    const std::size_t width = row_size(last), written = p_.first.panels() * kPanel;
    T* const between = cpu::scratch(hidden, kMostRows * width);
    map(p_.first, in, count, After::kActivation, p_.activation,
        Ends{between, width, written, nullptr, 0});
    if (written < last.depth()) {
      for (std::size_t i = 0; i < count; ++i) {
        std::fill_n(between + i * width + written, kPanel, T{});
      }
    }
    map(last, {between, width}, count, After::kActivation, Activation::kNone, end);
  }

  /// Has what the next block writes, and its residual, on their way: they are written and read by
  /// parts of a row, which a processor does not see coming.
  LIC_FAST_TARGET void ask_for(std::size_t count, std::size_t outputs) {
    const bool residual = p_.residual.data != nullptr && p_.residual.data != p_.x.data;
    for (; count > 0 && asked_ < p_.rows; --count, ++asked_) {
      const char* const to = reinterpret_cast<const char*>(row(p_.out, asked_));
      for (std::size_t at = 0; at < outputs * sizeof(T); at += 64) {
        LIC_FAST_PREFETCH_WRITTEN(to + at);
      }
      if (!residual) continue;
      const char* const from = reinterpret_cast<const char*>(row(p_.residual, asked_));
      for (std::size_t at = 0; at < outputs * sizeof(T); at += 64) LIC_FAST_PREFETCH(from + at);
    }
  }

  /// Writes the activation of all products, with the bias and the residual.
  LIC_FAST_TARGET void map(const Weights& w, Operand in, std::size_t count, After after,
                           Activation activation, const Ends& end) {
    const std::size_t panels = w.panels();
    const std::size_t tiles = (count + cpu::kTileRows - 1) / cpu::kTileRows;
    const bool sum = end.residual != nullptr;
    const auto any = end.function(after, activation);
    const std::size_t steps = ((tiles + 1) / 2) * ((panels + 1) / 2);
    const bool last = p_.second == nullptr || &w == p_.second;
    const std::size_t ask = last ? (count + steps - 1) / steps : 0;
    cpu::written();
    for (std::size_t panel = 0; panel < panels;) {
      const std::size_t across = std::min<std::size_t>(2, panels - panel);
      const bool whole = (panel + across) * kPanel <= end.outputs;
      const auto known = across == 2 ? Whole<2>::function(after, activation, sum)
                                     : Whole<1>::function(after, activation, sum);
      const auto write = whole && known != nullptr ? known : any;
      for (std::size_t tile = 0; tile < tiles;) {
        const std::size_t down = std::min<std::size_t>(2, tiles - tile);
        const std::size_t at = tile * cpu::kTileRows;
        multiply(w, in, at, down, panel, across);
        ask_for(ask, end.outputs);
        write(end, activation, sums_, at, std::min(down * cpu::kTileRows, count - at),
              panel * kPanel, across * kPanel);
        tile += down;
      }
      panel += across;
    }
  }

  LIC_FAST_TARGET void multiply(const Weights& w, Operand in, std::size_t row, std::size_t down,
                                std::size_t panel, std::size_t across) {
    const T* const x = in.data + row * in.stride;
    if (across == 2) {
      return down == 2 ? wide<2>(w, x, in, panel) : wide<1>(w, x, in, panel);
    }
    return down == 2 ? tall<2>(w, x, in, panel) : tall<1>(w, x, in, panel);
  }

  // The intrinsics take the numbers of tiles as they are written, and so there is no loop over
  // them.

  /// Products of kDown tiles of rows by two panels: (kDown * 16, 2, kPanel) sums.
  template <std::size_t kDown>
  LIC_FAST_TARGET void wide(const Weights& w, const T* x, Operand in, std::size_t panel) {
    const std::size_t stride = in.stride * sizeof(T);
    const T* weights = w.pairs() + panel * w.panel_size();
    const T* const below = x + cpu::kTileRows * in.stride;
    const float* const bias = w.bias() + panel * kPanel;
    // Every row of sums begins with the bias.
    _tile_loadd(0, bias, 0);
    _tile_loadd(1, bias + kPanel, 0);
    if constexpr (kDown > 1) {
      _tile_loadd(2, bias, 0);
      _tile_loadd(3, bias + kPanel, 0);
    }
    for (std::size_t i = 0; i < w.depth(); i += kTileDepth, weights += kTileDepth * kPanel) {
      _tile_loadd(6, weights, cpu::kTileBytes);
      _tile_loadd(4, x + i, stride);
      _tile_loadd(7, weights + w.panel_size(), cpu::kTileBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      if constexpr (kDown > 1) {
        _tile_loadd(5, below + i, stride);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
      }
    }
    constexpr std::size_t kBytes = 2 * cpu::kTileBytes;
    _tile_stored(0, sums_, kBytes);
    _tile_stored(1, sums_ + kPanel, kBytes);
    if constexpr (kDown > 1) {
      _tile_stored(2, sums_ + 2 * kTile, kBytes);
      _tile_stored(3, sums_ + 2 * kTile + kPanel, kBytes);
    }
  }

  /// The same by one panel.
  template <std::size_t kDown>
  LIC_FAST_TARGET void tall(const Weights& w, const T* x, Operand in, std::size_t panel) {
    const std::size_t stride = in.stride * sizeof(T);
    const T* const below = x + cpu::kTileRows * in.stride;
    const T* weights = w.pairs() + panel * w.panel_size();
    const float* const bias = w.bias() + panel * kPanel;
    _tile_loadd(0, bias, 0);
    if constexpr (kDown > 1) _tile_loadd(1, bias, 0);
    for (std::size_t i = 0; i < w.depth(); i += kTileDepth, weights += kTileDepth * kPanel) {
      _tile_loadd(7, weights, cpu::kTileBytes);
      _tile_loadd(4, x + i, stride);
      _tile_dpbf16ps(0, 4, 7);
      if constexpr (kDown > 1) {
        _tile_loadd(5, below + i, stride);
        _tile_dpbf16ps(1, 5, 7);
      }
    }
    _tile_stored(0, sums_, cpu::kTileBytes);
    if constexpr (kDown > 1) _tile_stored(1, sums_ + kTile, cpu::kTileBytes);
  }
};
