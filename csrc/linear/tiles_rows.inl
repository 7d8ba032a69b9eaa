// What is done to rows of bfloat16 before and behind products of tiles, for the file that includes
// this behind around.inl. It computes what that does, several rows at once, so that an instruction
// need not wait for the one before it, and as exactly as results of bfloat16 show.

/// The tail of cpu/normal_tail.hpp as 16 polynomials of degree 2, off by 5e-5 at most, which is a
/// fraction of bfloat16's rounding of what is made of it. Piece i is around i kRoughPiece; they are
/// equal to the tail at Chebyshev's points, but for the first one, which is also at zero, and the
/// last one, which is nothing.
inline constexpr float kRoughPiece = 0.3f;
alignas(64) constexpr float kRoughTail[3][16] = {
    {0.5f, 0.501340508f, 0.50968343f, 0.52009815f, 0.515788376f, 0.480094105f, 0.40922901f,
     0.315183252f, 0.218054771f, 0.135278031f, 0.0752805918f, 0.0376227833f, 0.0169115234f,
     0.00684770895f, 0.00250131381f, 0.0f},
    {-0.399128735f, -0.414598763f, -0.452142149f, -0.480808884f, -0.473439813f, -0.421077937f,
     -0.33532989f, -0.238755792f, -0.152186602f, -0.0870322287f, -0.0447552465f, -0.0207379889f,
     -0.00867427699f, -0.00328031857f, -0.00112301589f, 0.0f},
    {0.00994836073f, 0.0569747016f, 0.0995971635f, 0.119370319f, 0.116256282f, 0.097035557f,
     0.0710787401f, 0.0462739952f, 0.0269775391f, 0.0141530801f, 0.00670389459f, 0.00287382957f,
     0.00111689675f, 0.000394058472f, 0.000126343453f, 0.0f},
};

/// gelu(x) of several vectors, for results of bfloat16.
template <std::size_t kCount>
LIC_FAST_TARGET LIC_FAST_INLINE void rough_gelu(__m512 (&x)[kCount]) {
  constexpr float kShift = 3 << 22;  // what it is added to, rounds to integers, its lowest bits
  const __m512 end = _mm512_set1_ps(kRoughPiece * 15);
  __m512 size[kCount], tail[kCount];
  __m512i piece[kCount];
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < kCount; ++i) {
    size[i] = _mm512_min_ps(end, _mm512_abs_ps(x[i]));  // in this order a NaN stays one
  }
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < kCount; ++i) {
    piece[i] = _mm512_castps_si512(
        _mm512_fmadd_ps(size[i], _mm512_set1_ps(1 / kRoughPiece), _mm512_set1_ps(kShift)));
  }
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < kCount; ++i) {
    tail[i] =
        _mm512_fmadd_ps(_mm512_permutexvar_ps(piece[i], _mm512_load_ps(kRoughTail[2])), size[i],
                        _mm512_permutexvar_ps(piece[i], _mm512_load_ps(kRoughTail[1])));
  }
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < kCount; ++i) {
    tail[i] = _mm512_fmadd_ps(tail[i], size[i],
                              _mm512_permutexvar_ps(piece[i], _mm512_load_ps(kRoughTail[0])));
  }
  LIC_FAST_UNROLL(8)
  for (std::size_t i = 0; i < kCount; ++i) {
    x[i] = _mm512_fnmadd_ps(size[i], tail[i], _mm512_max_ps(x[i], _mm512_setzero_ps()));
  }
}

LIC_FAST_TARGET LIC_FAST_INLINE __m512 numbers_at(const std::uint16_t* x) {
  return Vector::load(x).v;
}
LIC_FAST_TARGET LIC_FAST_INLINE void store_two(__m512 low, __m512 high, std::uint16_t* to) {
  _mm512_storeu_si512(to, (__m512i)_mm512_cvtne2ps_pbh(high, low));
}

/// Ends of sums of whole panels, kPanels of them.
template <std::size_t kPanels>
struct Whole {
  using Ends = End<std::uint16_t>;
  using Kind = Ends::Kind;

  /// Null: there is none, and End's is as good.
  static Ends::Function function(After after, Activation activation, bool sum) {
    if (after == After::kTimesRoot) return &write<Kind::kTimesRoot, true>;
    if (after == After::kOverRoot) return &write<Kind::kOverRoot, true>;
    if (activation == Activation::kNone) {
      return sum ? &write<Kind::kNone, true> : &write<Kind::kNone, false>;
    }
    if (activation != Activation::kGelu) return nullptr;
    return sum ? &write<Kind::kGelu, true> : &write<Kind::kGelu, false>;
  }

 private:
  static constexpr std::size_t kRowsAtOnce = 4 / kPanels;

  template <Kind kKind, bool kSum>
  LIC_FAST_TARGET static void write(const Ends& end, Activation, const float* sums, std::size_t row,
                                    std::size_t count, std::size_t first, std::size_t) {
    std::uint16_t* out = end.out + row * end.stride + first;
    const std::uint16_t* skip = kSum ? end.residual + row * end.residual_stride + first : nullptr;
    std::size_t t = 0;
    for (; t + kRowsAtOnce <= count; t += kRowsAtOnce) {
      some<kRowsAtOnce, kKind, kSum>(end, sums, skip, out);
      sums += kRowsAtOnce * kPanels * kPanel;
      out += kRowsAtOnce * end.stride;
      if constexpr (kSum) skip += kRowsAtOnce * end.residual_stride;
    }
    for (; t < count; ++t) {
      some<1, kKind, kSum>(end, sums, skip, out);
      sums += kPanels * kPanel;
      out += end.stride;
      if constexpr (kSum) skip += end.residual_stride;
    }
  }

  /// kRows rows.
  template <std::size_t kRows, Kind kKind, bool kSum>
  LIC_FAST_TARGET LIC_FAST_INLINE static void some(const Ends& end, const float* sums,
                                                   const std::uint16_t* skip, std::uint16_t* out) {
    constexpr std::size_t kCount = kRows * kPanels;
    __m512 x[kCount];
    LIC_FAST_UNROLL(8)
    for (std::size_t i = 0; i < kCount; ++i) {
      x[i] = _mm512_load_ps(sums + i * kPanel);
      if constexpr (!kSum) continue;
      const __m512 other =
          numbers_at(skip + i / kPanels * end.residual_stride + i % kPanels * kPanel);
      x[i] = finished<kKind>(x[i], other);
    }
    if constexpr (kKind == Kind::kGelu) rough_gelu(x);
    LIC_FAST_UNROLL(8)
    for (std::size_t t = 0; t < kRows; ++t) {
      if constexpr (kPanels == 2) {
        store_two(x[2 * t], x[2 * t + 1], out + t * end.stride);
      } else {
        Vector{x[t]}.store(out + t * end.stride);
      }
    }
  }

  template <Kind kKind>
  LIC_FAST_TARGET LIC_FAST_INLINE static __m512 finished(__m512 x, __m512 other) {
    // Off by 2^-14 of itself at most.
    const __m512 inverse = _mm512_rsqrt14_ps(x);
    if constexpr (kKind == Kind::kOverRoot) return _mm512_mul_ps(other, inverse);
    if constexpr (kKind == Kind::kTimesRoot) {
      // Zero and infinity are their own roots.
      const __mmask16 ends = _mm512_fpclass_ps_mask(x, 0x02 | 0x04 | 0x08);
      return _mm512_mul_ps(other, _mm512_mask_mul_ps(x, _knot_mask16(ends), x, inverse));
    }
    return _mm512_add_ps(x, other);
  }
};

/// Four rows' sums of vectors' numbers, as the first four.
LIC_FAST_TARGET LIC_FAST_INLINE __m128 four_totals(const __m512 (&x)[4]) {
  const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(x[0], x[1]), _mm512_unpackhi_ps(x[0], x[1]));
  const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(x[2], x[3]), _mm512_unpackhi_ps(x[2], x[3]));
  const __m512 all = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xEE));
  const __m256 half = _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  return _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps(half, 1));
}

/// normalise() of four rows of whole vectors. The variance is that of distances from each row's
/// first number, so that one pass finds both, and a row of equal numbers has none.
LIC_FAST_TARGET inline void normalise_four(const Problem& p, const std::uint16_t* x,
                                           std::size_t stride, std::uint16_t* to,
                                           std::size_t to_stride) {
  constexpr std::size_t kWidth = Vector::kWidth;
  const std::size_t channels = p.first.inputs;
  __m512 from[4], sums[4], squares[4];
  LIC_FAST_UNROLL(4)
  for (std::size_t t = 0; t < 4; ++t) {
    from[t] = _mm512_set1_ps(cpu::wide(x[t * stride]));
    sums[t] = squares[t] = _mm512_setzero_ps();
  }
  for (std::size_t c = 0; c < channels; c += kWidth) {
    LIC_FAST_UNROLL(4)
    for (std::size_t t = 0; t < 4; ++t) {
      const __m512 distance = _mm512_sub_ps(numbers_at(x + t * stride + c), from[t]);
      sums[t] = _mm512_add_ps(sums[t], distance);
      squares[t] = _mm512_fmadd_ps(distance, distance, squares[t]);
    }
  }
  const __m128 share = _mm_set1_ps(1.0f / static_cast<float>(channels));
  const __m128 mean = _mm_mul_ps(four_totals(sums), share);
  const __m128 variance = _mm_fnmadd_ps(mean, mean, _mm_mul_ps(four_totals(squares), share));
  const __m128 spread = _mm_add_ps(_mm_max_ps(_mm_setzero_ps(), variance), _mm_set1_ps(p.epsilon));
  alignas(16) float means[4], factors[4];
  _mm_store_ps(means, mean);
  _mm_store_ps(factors, _mm_div_ps(_mm_set1_ps(1.0f), _mm_sqrt_ps(spread)));
  __m512 factor[4];
  LIC_FAST_UNROLL(4)
  for (std::size_t t = 0; t < 4; ++t) {
    from[t] = _mm512_add_ps(from[t], _mm512_set1_ps(means[t]));
    factor[t] = _mm512_set1_ps(factors[t]);
  }
  for (std::size_t c = 0; c < channels; c += kWidth) {
    const __m512 weight = _mm512_loadu_ps(p.norm_weight + c);
    const __m512 bias = _mm512_loadu_ps(p.norm_bias + c);
    LIC_FAST_UNROLL(4)
    for (std::size_t t = 0; t < 4; ++t) {
      const __m512 distance = _mm512_sub_ps(numbers_at(x + t * stride + c), from[t]);
      Vector{_mm512_fmadd_ps(_mm512_mul_ps(distance, factor[t]), weight, bias)}.store(
          to + t * to_stride + c);
    }
  }
}

/// `count` rows as prepare_row has them, zero from the inputs' end to `depth`.
LIC_FAST_TARGET inline void prepare_rows(const Problem& p, const std::uint16_t* x,
                                         std::size_t stride, std::size_t count, std::uint16_t* to,
                                         std::size_t to_stride, std::size_t depth) {
  const std::size_t inputs = p.first.inputs;
  std::size_t i = 0;
  if (p.before == Before::kNorm && inputs % Vector::kWidth == 0) {
    // A row's numbers do not depend on how many there are: the last ones are in a four, too, if
    // need be once more, or several times.
    static thread_local cpu::Lines<std::uint16_t> few;
    if (count < 4) {
      std::uint16_t* const copies = cpu::scratch(few, 4 * inputs);
      for (std::size_t t = 0; t < 4; ++t) {
        std::copy_n(x + std::min(t, count - 1) * stride, inputs, copies + t * inputs);
      }
      normalise_four(p, copies, inputs, copies, inputs);
      for (; i < count; ++i) std::copy_n(copies + i * inputs, inputs, to + i * to_stride);
    }
    for (; i < count; i += 4) {
      i = std::min(i, count - 4);
      normalise_four(p, x + i * stride, stride, to + i * to_stride, to_stride);
    }
    for (std::size_t t = 0; t < count && inputs < depth; ++t) {
      Vector::zero().store(to + t * to_stride + inputs);  // one vector is missing
    }
  }
  if (p.before == Before::kSquare && inputs == depth) {
    for (; i < count; ++i) {
      for (std::size_t c = 0; c < inputs; c += 2 * Vector::kWidth) {
        const __m512 low = numbers_at(x + i * stride + c);
        const __m512 high = numbers_at(x + i * stride + c + Vector::kWidth);
        store_two(_mm512_mul_ps(low, low), _mm512_mul_ps(high, high), to + i * to_stride + c);
      }
    }
  }
  if (p.before == Before::kNothing) {
    for (; i < count; ++i) {
      std::copy_n(x + i * stride, inputs, to + i * to_stride);
      std::fill(to + i * to_stride + inputs, to + i * to_stride + depth, std::uint16_t{});
    }
  }
  for (; i < count; ++i) prepare_row(p, x + i * stride, to + i * to_stride, depth);
}
