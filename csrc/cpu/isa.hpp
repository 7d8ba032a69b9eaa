// Instruction sets, chosen at run time.
//
// A function that uses one carries its attribute, so that every file is compiled for the
// baseline and nothing else can slip an instruction in that the CPU lacks. Intrinsics and
// helpers that are to be inlined into such a function need the same attribute.

#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__linux__) && defined(__x86_64__) && \
    (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 11)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
// Tiles are Linux's, which a process has to ask for them, and of compilers that know them.
#define LIC_FAST_TILES 1
#define LIC_FAST_AMX                                                             \
  __attribute__((                                                                \
      target("avx2,fma,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl," \
             "avx512vnni,avx512bf16,amx-tile,amx-int8,amx-bf16")))
#endif

#if defined(__x86_64__) || defined(_M_X64)
#define LIC_FAST_X86 1
#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#define LIC_FAST_AVX2
#define LIC_FAST_AVX512
#define LIC_FAST_AVX512VNNI
#define LIC_FAST_AVX512BF16
#else
#define LIC_FAST_AVX2 __attribute__((target("avx2,fma,bmi2,popcnt")))
#define LIC_FAST_AVX512 \
  __attribute__((target("avx2,fma,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl")))
#define LIC_FAST_AVX512VNNI \
  __attribute__((           \
      target("avx2,fma,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512vnni")))
#define LIC_FAST_AVX512BF16 \
  __attribute__((           \
      target("avx2,fma,bmi2,popcnt,avx512f,avx512bw,avx512cd,avx512dq,avx512vl,avx512bf16")))
#endif
#endif

// LIC_FAST_PREFETCH asks for a cache line that is read soon, LIC_FAST_UNROLL(times) stands before
// a loop that becomes its body as often as it runs, so that arrays of vectors become registers.
#if defined(_MSC_VER) && !defined(__clang__)
#define LIC_FAST_INLINE __forceinline
#define LIC_FAST_UNROLL(times)
#define LIC_FAST_PREFETCH(address) static_cast<void>(address)
#define LIC_FAST_PREFETCH_WRITTEN(address) static_cast<void>(address)
#else
#define LIC_FAST_PREFETCH(address) __builtin_prefetch(address, 0, 2)
#define LIC_FAST_PREFETCH_WRITTEN(address) __builtin_prefetch(address, 1, 3)
// For sanitizers, which see every index then and compile in a fraction of the time.
#ifdef LIC_FAST_ROLLED
#define LIC_FAST_INLINE inline
#define LIC_FAST_UNROLL(times)
#else
#define LIC_FAST_INLINE inline __attribute__((always_inline))
#define LIC_FAST_PRAGMA(text) _Pragma(#text)
#define LIC_FAST_UNROLL(times) LIC_FAST_PRAGMA(GCC unroll times)
#endif
#endif

namespace lic_fast::cpu {

/// In ascending order: a CPU that has one has those before it.
enum class Isa { kScalar, kAvx2, kAvx512, kAvx512Vnni, kAmx };

inline const char* name(Isa isa) {
  switch (isa) {
    case Isa::kAmx:
      return "amx";
    case Isa::kAvx512Vnni:
      return "avx512vnni";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx2:
      return "avx2";
    default:
      return "scalar";
  }
}

/// Whether the system lets this process use tiles, which take 8 KiB of each of its threads.
inline bool tiles_permitted() {
#ifdef LIC_FAST_TILES
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // of Linux's asm/prctl.h
  static const bool permitted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
  return permitted;
#else
  return false;
#endif
}

inline bool supported(Isa isa) {
  if (isa == Isa::kAmx) {
#ifdef LIC_FAST_TILES
    // Not all compilers that have the instructions have a name for them here.
    constexpr unsigned kBfloat16 = 1u << 22, kTiles = 1u << 24, kInt8 = 1u << 25;
    constexpr unsigned kAll = kBfloat16 | kTiles | kInt8;
    unsigned a = 0, b = 0, c = 0, d = 0;
    static const bool has = __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAll) == kAll;
    return has && supported(Isa::kAvx512Vnni) && __builtin_cpu_supports("avx512bf16") &&
           tiles_permitted();
#else
    return false;
#endif
  }
#if defined(LIC_FAST_X86) && defined(_MSC_VER) && !defined(__clang__)
  static const auto has = [](int leaf, int reg, unsigned bits) {
    int regs[4];
    __cpuidex(regs, leaf, 0);
    return (static_cast<unsigned>(regs[reg]) & bits) == bits;
  };
  if (isa == Isa::kScalar) return true;
  if (!has(1, 2, 1u << 12 | 1u << 23 | 1u << 27 | 1u << 28))
    return false;  // fma, popcnt, xsave, avx
  const unsigned long long saved = _xgetbv(0);
  const bool avx2 = (saved & 6) == 6 && has(7, 1, 1u << 5 | 1u << 8);
  if (isa == Isa::kAvx2) return avx2;
  const bool avx512 = avx2 && (saved & 0xe6) == 0xe6 &&
                      has(7, 1, 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31);
  return isa == Isa::kAvx512 ? avx512 : avx512 && has(7, 2, 1u << 11);
#elif defined(LIC_FAST_X86)
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  switch (isa) {
    case Isa::kAvx512Vnni:
      return avx512 && __builtin_cpu_supports("avx512vnni");
    case Isa::kAvx512:
      return avx512;
    case Isa::kAvx2:
      return avx2;
    default:
      return true;
  }
#else
  return isa == Isa::kScalar;
#endif
}

/// Those that this CPU has, in ascending order.
inline std::vector<Isa> supported() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAmx}) {
    if (supported(isa)) all.push_back(isa);
  }
  return all;
}

/// Throws std::invalid_argument for a name that this CPU has no instruction set of.
inline Isa isa_of_name(const std::string& wanted) {
  std::string known;
  for (const Isa isa : supported()) {
    if (wanted == name(isa)) return isa;
    known += std::string(known.empty() ? "" : ", ") + name(isa);
  }
  throw std::invalid_argument("the instruction set is '" + wanted + "'; this CPU has " + known);
}

/// The last of supported(), or what the environment variable LIC_FAST_ISA names.
inline Isa default_isa() {
  const char* wanted = std::getenv("LIC_FAST_ISA");
  return wanted != nullptr && *wanted != '\0' ? isa_of_name(wanted) : supported().back();
}

}  // namespace lic_fast::cpu
