// From probabilities to a quantised CDF, as compressai._CXX does it.

#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

namespace lic_fast::ans {

inline constexpr int kMaxPmfPrecision = 30;

/// The frequencies of a pmf: positive integers that sum to 2^precision.
///
/// Each probability times 2^precision is rounded, half away from zero; the results are scaled to
/// sum to 2^precision, rounding down, the last one taking what is left over. Then every symbol
/// without a frequency, in order, takes one from the lowest frequency above 1, the first such
/// symbol if there are several.
///
/// Throws std::invalid_argument for probabilities or a precision with which this is impossible.
inline std::vector<std::uint32_t> pmf_to_frequencies(const std::vector<float>& pmf, int precision) {
  if (precision < 1 || precision > kMaxPmfPrecision) {
    throw std::invalid_argument("precision is " + std::to_string(precision) + "; it must be 1 to " +
                                std::to_string(kMaxPmfPrecision));
  }
  const std::uint64_t total = std::uint64_t{1} << precision;
  if (pmf.empty()) throw std::invalid_argument("the pmf is empty");
  if (pmf.size() > total) {
    throw std::invalid_argument("the pmf has " + std::to_string(pmf.size()) +
                                " symbols; a precision of " + std::to_string(precision) +
                                " bits allows " + std::to_string(total));
  }

  std::vector<std::uint64_t> rounded(pmf.size());
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < pmf.size(); ++i) {
    if (!std::isfinite(pmf[i]) || pmf[i] < 0) {
      throw std::invalid_argument("pmf[" + std::to_string(i) + "] is " + std::to_string(pmf[i]) +
                                  "; probabilities are finite and not negative");
    }
    const float scaled = std::round(pmf[i] * static_cast<float>(total));
    if (scaled < 4294967296.0f) {
      rounded[i] = static_cast<std::uint64_t>(scaled);
      sum += rounded[i];
    }
    if (scaled >= 4294967296.0f || sum >> 32 != 0) {
      throw std::invalid_argument(
          "the pmf sums to more than 2^(32 - precision); it should sum to 1");
    }
  }
  if (sum == 0) {
    throw std::invalid_argument("the pmf has no probability of at least 2^-(precision + 1)");
  }

  std::vector<std::uint32_t> frequencies(pmf.size());
  std::uint64_t left = total;
  for (std::size_t i = 0; i + 1 < pmf.size(); ++i) {
    frequencies[i] = static_cast<std::uint32_t>(total * rounded[i] / sum);
    left -= frequencies[i];
  }
  frequencies.back() = static_cast<std::uint32_t>(left);

  // The donor stays the lowest as it gives, so the donors' order can be settled beforehand.
  std::vector<std::size_t> donors;
  for (std::size_t i = 0; i < frequencies.size(); ++i) {
    if (frequencies[i] > 1) donors.push_back(i);
  }
  std::stable_sort(donors.begin(), donors.end(),
                   [&](std::size_t a, std::size_t b) { return frequencies[a] < frequencies[b]; });
  auto donor = donors.begin();
  for (std::uint32_t& frequency : frequencies) {
    if (frequency != 0) continue;
    // There is one: 2^precision is at least the number of symbols, and is the sum.
    while (frequencies[*donor] == 1) ++donor;
    --frequencies[*donor];
    frequency = 1;
  }
  return frequencies;
}

/// The CDF of pmf_to_frequencies: one entry more than symbols, from 0 to 2^precision.
inline std::vector<std::uint32_t> pmf_to_quantized_cdf(const std::vector<float>& pmf,
                                                       int precision) {
  const std::vector<std::uint32_t> frequencies = pmf_to_frequencies(pmf, precision);
  std::vector<std::uint32_t> cdf(frequencies.size() + 1);
  std::partial_sum(frequencies.begin(), frequencies.end(), cdf.begin() + 1);
  return cdf;
}

}  // namespace lic_fast::ans
