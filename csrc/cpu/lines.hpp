// Vectors of the standard library that begin at a cache line.

#pragma once

#include <cstddef>
#include <new>
#include <vector>

namespace lic_fast::cpu {

/// A load of 64 bytes that crosses a line takes two; malloc's blocks begin 16 bytes behind one.
template <class T>
struct LineAllocator {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};

  LineAllocator() = default;
  template <class Other>
  LineAllocator(const LineAllocator<Other>&) {}

  T* allocate(std::size_t count) {
    return static_cast<T*>(::operator new(count * sizeof(T), kLine));
  }
  void deallocate(T* memory, std::size_t) { ::operator delete(memory, kLine); }
};
template <class T, class Other>
bool operator==(const LineAllocator<T>&, const LineAllocator<Other>&) {
  return true;
}
template <class T, class Other>
bool operator!=(const LineAllocator<T>&, const LineAllocator<Other>&) {
  return false;
}

template <class T>
using Lines = std::vector<T, LineAllocator<T>>;

/// At least `size` elements of memory that a thread keeps.
template <class T>
T* scratch(Lines<T>& memory, std::size_t size) {
  if (memory.size() < size) memory = Lines<T>(size);
  return memory.data();
}

}  // namespace lic_fast::cpu
