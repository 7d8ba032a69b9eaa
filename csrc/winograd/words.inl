// Convolutions by minimal filtering with products of words, for the instruction set of the file
// that includes this and cpu/words_*.inl, and defines LIC_FAST_TARGET.

LIC_FAST_TARGET void read_words(const Weights& w, const WordBlock& block, std::size_t tile,
                                const float* numbers) {
  const std::size_t channels = w.in_channels;
  const std::size_t from = place_size(1, channels), to = word_place_size(block.count, channels);
  for (std::size_t place = 0; place < kPlaces; ++place) {
    block.scales[place * block.count + tile] =
        Words::make(numbers + place * from, channels, w.limits()[place],
                    block.inputs + place * to + tile * channels);
  }
}

LIC_FAST_TARGET void multiply_words(const Weights& w, const WordBlock& block, const Panels& panels,
                                    float* products) {
  const std::size_t channels = w.in_channels, inputs = word_place_size(block.count, channels);
  const std::size_t across = panels.count * kPanel, distance = place_size(block.count, across);
  for (std::size_t place = 0; place < kPlaces; ++place) {
    const float* const scales = w.scales(panels.first) + place * kPanel;
    for (std::size_t first = 0; first < channels; first += cpu::kSummed) {
      const std::size_t steps = std::min(cpu::kSummed, channels - first) / 2;
      const std::int16_t* const own =
          w.words(panels.first) + place * w.place_size() + first * kPanel;
      const std::int16_t* const x = block.inputs + place * inputs + first;
      for (std::size_t t = 0; t < block.count; t += kRows) {
        const std::size_t tiles = std::min(kRows, block.count - t);
        multiplication<Words>(tiles, panels.count)(
            x + t * channels, channels, own, w.panel_size(), steps, nullptr,
            {block.scales + place * block.count + t, scales, kPlaces * kPanel, first > 0},
            products + place * distance + t * across);
      }
    }
  }
}
