#include "program/convert.hpp"

#include <algorithm>
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

}  // namespace

void read(const Array<const float>& from, const View& to, Rows rows, std::size_t width,
          bool bfloat16, unsigned threads) {
  (bfloat16 ? &read_rows<std::uint16_t> : &read_rows<float>)(from, to, rows, width, threads);
}

void write(const View& from, const Array<float>& to, Rows rows, std::size_t width, bool bfloat16,
           unsigned threads) {
  (bfloat16 ? &write_rows<std::uint16_t> : &write_rows<float>)(from, to, rows, width, threads);
}

}  // namespace lic_fast::program
