#include "program/convert.hpp"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "cpu/bfloat16.hpp"
#include "cpu/thread_pool.hpp"

namespace lic_fast::program {
namespace {

// Numbers of a task: less is done before another thread has woken.
constexpr std::size_t kTask = std::size_t{1} << 15;
// Pixels that are transposed together: what is read or written of a plane is whole cache lines.
constexpr std::size_t kPixels = 16;

/// Numbers side by side.
template <class From, class To>
void copy_run(const From* from, To* to, std::size_t count) {
  if constexpr (std::is_same_v<From, To>) {
    std::memcpy(to, from, count * sizeof(To));
  } else {
    for (std::size_t i = 0; i < count; ++i) to[i] = cpu::narrow<To>(cpu::wide(from[i]));
  }
}

/// Numbers of a row, or of several as if they were one.
struct Layout {
  std::size_t pixel, channel;
};

/// Of a constant number of channels, where kChannels is not 0: those of pictures.
template <std::size_t kChannels, class From, class To>
void copy_pixels(const From* from, Layout in, To* to, Layout out, std::size_t pixels,
                 std::size_t channels) {
  if constexpr (kChannels > 0) channels = kChannels;
  if (in.channel == 1 && out.channel == 1) {
    if (in.pixel == channels && out.pixel == channels) {
      return copy_run(from, to, pixels * channels);
    }
    for (std::size_t p = 0; p < pixels; ++p) {
      copy_run(from + p * in.pixel, to + p * out.pixel, channels);
    }
    return;
  }
  for (std::size_t first = 0; first < pixels; first += kPixels) {
    const std::size_t count = std::min(kPixels, pixels - first);
    const From* const source = from + first * in.pixel;
    To* const target = to + first * out.pixel;
    for (std::size_t c = 0; c < channels; ++c) {
      for (std::size_t p = 0; p < count; ++p) {
        target[p * out.pixel + c * out.channel] =
            cpu::narrow<To>(cpu::wide(source[p * in.pixel + c * in.channel]));
      }
    }
  }
}

/// Tasks of some rows each.
template <class Task>
void by_rows(Rows rows, std::size_t size, unsigned threads, const Task& task) {
  const std::size_t each = std::max<std::size_t>(1, kTask / std::max<std::size_t>(1, size));
  const std::size_t tasks = (rows.count() + each - 1) / each;
  cpu::ThreadPool::instance().run(tasks, threads, [&](std::size_t i) {
    const std::size_t begin = rows.begin + i * each, end = std::min(rows.end, begin + each);
    for (std::size_t row = begin; row < end; ++row) task(row);
  });
}

template <class From, class To>
auto function_for(std::size_t channels) {
  return channels == 3 ? &copy_pixels<3, From, To> : &copy_pixels<0, From, To>;
}

template <class T>
void read_rows(const Array<const float>& from, const View& to, Rows rows, std::size_t width,
               unsigned threads) {
  const auto work = function_for<float, T>(to.channels);
  by_rows(rows, width * to.channels, threads, [&](std::size_t row) {
    work(from.data + row * from.row, {from.pixel, from.channel},
         reinterpret_cast<T*>(to.data) + (row - to.first) * to.row, {to.pixel, 1}, width,
         to.channels);
  });
}

template <class T>
void write_rows(const View& from, const Array<float>& to, Rows rows, std::size_t width,
                unsigned threads) {
  const auto work = function_for<T, float>(from.channels);
  by_rows(rows, width * from.channels, threads, [&](std::size_t row) {
    work(reinterpret_cast<const T*>(from.data) + (row - from.first) * from.row, {from.pixel, 1},
         to.data + row * to.row, {to.pixel, to.channel}, width, from.channels);
  });
}

template <class T>
LIC_FAST_INLINE T of_byte(std::uint8_t x) {
  return cpu::narrow<T>(static_cast<float>(x) / 255.0f);
}

/// Without comparisons of floats, for which compilers do not vectorise loops.
template <class T>
LIC_FAST_INLINE std::uint8_t to_byte(T x) {
  const float scaled = cpu::wide(x) * 255.0f;
  std::int32_t bits = 0;
  std::memcpy(&bits, &scaled, sizeof bits);
  constexpr std::int32_t kMost = 0x437F0000;  // 255 as a float: their bits are in their order
  bits &= ~(bits >> 31);
  bits = bits < kMost ? bits : kMost;
  float rounded = 0;
  std::memcpy(&rounded, &bits, sizeof rounded);
  rounded += 8388608.0f;  // 2^23, from where floats are integers on
  std::memcpy(&bits, &rounded, sizeof bits);
  return static_cast<std::uint8_t>(bits);
}

template <class T>
bool all_finite(const T* x, std::size_t count) {
  std::uint32_t top = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const float number = cpu::wide(x[i]);
    std::uint32_t bits = 0;
    std::memcpy(&bits, &number, sizeof bits);
    top |= (bits & 0x7FFFFFFF) + 0x00800000;  // bit 31 where the exponent is the largest
  }
  return top >> 31 == 0;
}

/// convert(source, target, count) of numbers, as many at once as lie side by side.
template <class From, class To, class Convert>
void convert_pixels(const From* from, Layout in, To* to, Layout out, std::size_t pixels,
                    const Convert& convert) {
  if (in.channel == 1 && out.channel == 1 && in.pixel == kColours && out.pixel == kColours) {
    return convert(from, to, pixels * kColours);
  }
  for (std::size_t p = 0; p < pixels; ++p) {
    for (std::size_t c = 0; c < kColours; ++c) {
      convert(from + p * in.pixel + c * in.channel, to + p * out.pixel + c * out.channel, 1);
    }
  }
}

template <class T>
void read_picture(const Picture<const std::uint8_t>& from, const View& to, Rows rows,
                  std::size_t width, unsigned threads) {
  const Frame& frame = from.frame;
  by_rows(rows, width * kColours, threads, [&](std::size_t row) {
    T* const target = reinterpret_cast<T*>(to.data) + (row - to.first) * to.row;
    T* const inside = target + frame.left * to.pixel;
    convert_pixels(from.data + (frame.nearest(row) - from.first) * from.row,
                   {from.pixel, from.channel}, inside, {to.pixel, 1}, frame.size.width,
                   [](const std::uint8_t* x, T* y, std::size_t count) {
                     for (std::size_t i = 0; i < count; ++i) y[i] = of_byte<T>(x[i]);
                   });
    const T* const last = inside + (frame.size.width - 1) * to.pixel;
    for (std::size_t p = 0; p < width; ++p) {
      if (p == frame.left) p += frame.size.width;
      if (p < width) copy_run(p < frame.left ? inside : last, target + p * to.pixel, kColours);
    }
  });
}

template <class T>
bool write_picture(const View& from, const Picture<std::uint8_t>& to, Rows rows, std::size_t width,
                   unsigned threads) {
  const Frame& frame = to.frame;
  std::atomic<bool> finite{true};
  by_rows(rows, width * kColours, threads, [&](std::size_t row) {
    const T* const source = reinterpret_cast<const T*>(from.data) + (row - from.first) * from.row;
    bool all = true;
    if (from.pixel == kColours) {
      all = all_finite(source, width * kColours);
    } else {
      for (std::size_t p = 0; p < width; ++p) {
        all = all_finite(source + p * from.pixel, kColours) && all;
      }
    }
    if (!all) finite.store(false);
    const Rows inside = frame.inside({row, row + 1});
    if (inside.count() == 0) return;
    convert_pixels(source + frame.left * from.pixel, {from.pixel, 1},
                   to.data + (inside.begin - to.first) * to.row, {to.pixel, to.channel},
                   frame.size.width, [](const T* x, std::uint8_t* y, std::size_t count) {
                     for (std::size_t i = 0; i < count; ++i) y[i] = to_byte(x[i]);
                   });
  });
  return finite.load();
}

}  // namespace

void read(const Array<const float>& from, const View& to, Rows rows, std::size_t width,
          bool bfloat16, unsigned threads) {
  (bfloat16 ? &read_rows<std::uint16_t> : &read_rows<float>)(from, to, rows, width, threads);
}

void write(const View& from, const Array<float>& to, Rows rows, std::size_t width, bool bfloat16,
           unsigned threads) {
  (bfloat16 ? &write_rows<std::uint16_t> : &write_rows<float>)(from, to, rows, width, threads);
}

void read(const Picture<const std::uint8_t>& from, const View& to, Rows rows, std::size_t width,
          bool bfloat16, unsigned threads) {
  (bfloat16 ? &read_picture<std::uint16_t> : &read_picture<float>)(from, to, rows, width, threads);
}

bool write(const View& from, const Picture<std::uint8_t>& to, Rows rows, std::size_t width,
           bool bfloat16, unsigned threads) {
  return (bfloat16 ? &write_picture<std::uint16_t> : &write_picture<float>)(from, to, rows, width,
                                                                            threads);
}

}  // namespace lic_fast::program
