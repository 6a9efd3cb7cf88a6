// intrinsics.h: CUDA's barriers, shuffles, votes, atomics and arithmetic, one by one.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "machine.h"

// ---- barriers of a block ------------------------------------------------------------------------

inline void __syncthreads(CUDA_ON_CPU_SITE) {
    using namespace cuda_on_cpu;
    barrier(Vote::none, false, CUDA_ON_CPU_HERE, "__syncthreads");
}
inline int __syncthreads_or(int predicate, CUDA_ON_CPU_SITE) {
    using namespace cuda_on_cpu;
    return barrier(Vote::any, predicate != 0, CUDA_ON_CPU_HERE, "__syncthreads_or");
}
inline int __syncthreads_and(int predicate, CUDA_ON_CPU_SITE) {
    using namespace cuda_on_cpu;
    return barrier(Vote::all, predicate != 0, CUDA_ON_CPU_HERE, "__syncthreads_and");
}
inline int __syncthreads_count(int predicate, CUDA_ON_CPU_SITE) {
    using namespace cuda_on_cpu;
    return barrier(Vote::count, predicate != 0, CUDA_ON_CPU_HERE, "__syncthreads_count");
}

// ---- collectives of a warp ----------------------------------------------------------------------

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

struct Shuffled {
    std::uint64_t value, result;
    int source;  // lane to read
};
extern const Collective kSyncWarp, kShuffle, kShuffleUp, kShuffleDown, kShuffleXor, kBallot;

template <class T>
inline T shuffle(const Collective& kind, unsigned mask, T value, int source, Site site) {
    static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8),
                  "a shuffle moves 4 or 8 bytes");
    Shuffled shuffled{0, 0, source};
    std::memcpy(&shuffled.value, &value, sizeof(T));
    meet(kind, mask, &shuffled, site);
    std::memcpy(&value, &shuffled.result, sizeof(T));
    return value;
}
unsigned ballot(unsigned mask, bool predicate, Site site);
inline int lane() {
    return static_cast<int>(place->lane);
}

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL

inline void __syncwarp(unsigned mask = 0xffffffffu, CUDA_ON_CPU_SITE) {
    cuda_on_cpu::meet(cuda_on_cpu::kSyncWarp, mask, nullptr, CUDA_ON_CPU_HERE);
}
template <class T>
inline T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_ON_CPU_SITE) {
    const int from = (cuda_on_cpu::lane() & -width) | (source & (width - 1));
    return cuda_on_cpu::shuffle(cuda_on_cpu::kShuffle, mask, value, from, CUDA_ON_CPU_HERE);
}
// Up, down and xor: a lane whose source lies outside its segment keeps its own value.
template <class T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_ON_CPU_SITE) {
    const int lane = cuda_on_cpu::lane(), from = lane - static_cast<int>(by);
    return cuda_on_cpu::shuffle(cuda_on_cpu::kShuffleUp,
                                mask,
                                value,
                                from >= (lane & -width) ? from : lane,
                                CUDA_ON_CPU_HERE);
}
template <class T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned by, int width = 32, CUDA_ON_CPU_SITE) {
    const int lane = cuda_on_cpu::lane(), from = lane + static_cast<int>(by);
    return cuda_on_cpu::shuffle(cuda_on_cpu::kShuffleDown,
                                mask,
                                value,
                                from < (lane & -width) + width ? from : lane,
                                CUDA_ON_CPU_HERE);
}
template <class T>
inline T __shfl_xor_sync(unsigned mask, T value, int with, int width = 32, CUDA_ON_CPU_SITE) {
    const int lane = cuda_on_cpu::lane(), from = lane ^ with;
    return cuda_on_cpu::shuffle(cuda_on_cpu::kShuffleXor,
                                mask,
                                value,
                                from < (lane & -width) + width ? from : lane,
                                CUDA_ON_CPU_HERE);
}
inline unsigned __ballot_sync(unsigned mask, int predicate, CUDA_ON_CPU_SITE) {
    return cuda_on_cpu::ballot(mask, predicate != 0, CUDA_ON_CPU_HERE);
}
inline int __any_sync(unsigned mask, int predicate, CUDA_ON_CPU_SITE) {
    return cuda_on_cpu::ballot(mask, predicate != 0, CUDA_ON_CPU_HERE) != 0;
}
inline int __all_sync(unsigned mask, int predicate, CUDA_ON_CPU_SITE) {
    return cuda_on_cpu::ballot(mask, predicate == 0, CUDA_ON_CPU_HERE) == 0;
}

// ---- atomics: relaxed, as on the device ---------------------------------------------------------

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

// Replaces *p by change(*p) in one step; returns what was there.
template <class T, class Change>
inline T atomically(T* p, Change change) {
    using Bits = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
    auto* const bits = reinterpret_cast<Bits*>(p);
    Bits before = __atomic_load_n(bits, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(bits,
                                        &before,
                                        bits_as<Bits>(static_cast<T>(change(bits_as<T>(before)))),
                                        false,
                                        __ATOMIC_RELAXED,
                                        __ATOMIC_RELAXED)) {
    }
    return bits_as<T>(before);
}

template <class T>
inline constexpr bool is_atomic =
    std::is_same_v<T, int> || std::is_same_v<T, unsigned> || std::is_same_v<T, unsigned long long>;

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL

template <class T>
inline T atomicAdd(T* p, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T> || std::is_floating_point_v<T>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T before) { return before + value; });
}
template <class T>
inline T atomicMax(T* p, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T before) { return before > value ? before : value; });
}
template <class T>
inline T atomicMin(T* p, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T before) { return before < value ? before : value; });
}
template <class T>
inline T atomicOr(T* p, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T before) { return before | value; });
}
template <class T>
inline T atomicExch(T* p, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T> || std::is_same_v<T, float>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T) { return value; });
}
template <class T>
inline T atomicCAS(T* p, std::common_type_t<T> wanted, std::common_type_t<T> value) {
    static_assert(cuda_on_cpu::is_atomic<T>, "no such atomic");
    return cuda_on_cpu::atomically(p, [=](T before) { return before == wanted ? value : before; });
}
inline void __threadfence() {}
inline void __threadfence_block() {}

// ---- loads, arithmetic --------------------------------------------------------------------------

template <class T>
inline T __ldg(const T* p) {
    return *p;
}
template <class T>
inline T __ldcs(const T* p) {
    return *p;
}
template <class T>
inline void __stcs(T* p, T value) {
    *p = value;
}

inline int __popc(unsigned bits) {
    return __builtin_popcount(bits);
}
inline int __popcll(unsigned long long bits) {
    return __builtin_popcountll(bits);
}
inline int __ffs(int bits) {
    return __builtin_ffs(bits);
}
inline int __clz(int bits) {
    return bits == 0 ? 32 : __builtin_clz(static_cast<unsigned>(bits));
}
inline unsigned __brev(unsigned bits) {
    unsigned reversed = 0;
    for (int i = 0; i < 32; ++i) {
        reversed |= (bits >> i & 1u) << (31 - i);
    }
    return reversed;
}
inline float __fdividef(float x, float y) {
    return x / y;
}
inline float __frcp_rn(float x) {
    return 1.0f / x;
}
inline float __fmul_rn(float x, float y) {
    return x * y;
}
inline float __fadd_rn(float x, float y) {
    return x + y;
}
inline float __fsqrt_rn(float x) {
    return std::sqrt(x);
}
inline float rsqrtf(float x) {
    return 1.0f / std::sqrt(x);
}
inline float __saturatef(float x) {
    return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f;  // a NaN gives 0, as on the device
}
using std::isfinite;
using std::isinf;
using std::isnan;

// min and max of a number and a NaN give the number, as on the device.
template <class T, class U>
inline std::common_type_t<T, U> min(T first, U second) {
    const std::common_type_t<T, U> x = first, y = second;
    return x < y || y != y ? x : y;
}
template <class T, class U>
inline std::common_type_t<T, U> max(T first, U second) {
    const std::common_type_t<T, U> x = first, y = second;
    return x > y || y != y ? x : y;
}
