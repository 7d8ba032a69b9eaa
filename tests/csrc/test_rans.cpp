// The invariant of csrc/ans/rans.hpp, after every put and every get, with several parameters.

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>
#include <vector>

#include "ans/rans.hpp"
#include "check.hpp"

namespace {

using lic_fast::ans::Rans64;
using lic_fast::ans::RansDecoderCore;
using lic_fast::ans::RansEncoderCore;
using lic_fast::ans::RansParameters;
using lic_fast::ans::StreamError;

struct Operation {
  std::uint32_t start;
  std::uint32_t freq;
  unsigned bits;  // raw bits, with the value in start; or 0
};

template <class Parameters>
Operation random_operation(std::mt19937_64& random) {
  constexpr std::uint32_t kTotal = std::uint32_t{1} << Parameters::kPrecision;
  if (random() % 4 == 0) {
    const auto bits = static_cast<unsigned>(1 + random() % Parameters::kPrecision);
    return {static_cast<std::uint32_t>(random() % (std::uint64_t{1} << bits)), 0, bits};
  }
  // Small, middling and large frequencies, the whole range among them.
  const std::uint64_t bound = std::uint64_t{1} << (random() % (Parameters::kPrecision + 1));
  const auto freq = static_cast<std::uint32_t>(random() % 3 == 0 ? kTotal - random() % bound
                                                                 : 1 + random() % bound);
  return {static_cast<std::uint32_t>(random() % (kTotal - freq + 1)), freq, 0};
}

template <class Parameters>
void round_trip(std::mt19937_64& random, std::size_t size) {
  std::vector<Operation> operations(size);
  for (Operation& each : operations) each = random_operation<Parameters>(random);

  RansEncoderCore<Parameters> encoder;
  CHECK(Parameters::valid(encoder.state()));
  for (auto each = operations.rbegin(); each != operations.rend(); ++each) {
    if (each->bits != 0) {
      encoder.put_bits(each->start, each->bits);
    } else {
      encoder.put(each->start, each->freq);
    }
    CHECK(Parameters::valid(encoder.state()));
  }
  const std::string stream = encoder.finish();
  CHECK(stream.size() % Parameters::kWordBytes == 0);

  RansDecoderCore<Parameters> decoder(stream.data(), stream.size());
  CHECK(decoder.state() == encoder.state());
  for (const Operation& each : operations) {
    if (each.bits != 0) {
      CHECK(decoder.get_bits(each.bits) == each.start);
    } else {
      CHECK(decoder.slot() >= each.start && decoder.slot() - each.start < each.freq);
      decoder.advance(each.start, each.freq);
    }
    CHECK(Parameters::valid(decoder.state()));
  }
  decoder.check_finished();

  // With nothing left, getting on must end in the exception.
  bool refused = false;
  for (unsigned i = 0; i < Parameters::kStateBits && !refused; ++i) {
    try {
      decoder.get_bits(1);
    } catch (const StreamError&) {
      refused = true;
    }
  }
  CHECK(refused);
}

template <class Parameters>
void run(const char* name) {
  std::mt19937_64 random(20220602);
  for (std::size_t i = 0; i < 400; ++i) round_trip<Parameters>(random, i);
  std::printf("%s: the invariant holds\n", name);
}

}  // namespace

int main() {
  run<Rans64>("64-bit state, 32-bit words, from 2^31");
  run<RansParameters<std::uint32_t, std::uint16_t, 16, 16>>(
      "32-bit state, 16-bit words, from 2^16");
  run<RansParameters<std::uint64_t, std::uint32_t, 32, 16>>(
      "64-bit state, 32-bit words, from 2^32");
  run<RansParameters<std::uint32_t, std::uint8_t, 23, 8>>("32-bit state, bytes, from 2^23");
}
