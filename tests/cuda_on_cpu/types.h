// types.h: CUDA's vector types and half floats for g++.
//
// `half` is converted only by the functions that CUDA names, and has no arithmetic, so that
// whatever compiles here compiles with nvcc too.

#pragma once

#include <cstdint>
#include <cstring>

#define __global__
#define __device__
#define __host__
#define __constant__
#define __restrict__ __restrict
#define __noinline__ __attribute__((noinline))
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)

struct uint3 {
    unsigned x, y, z;
};

struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

#define CUDA_ON_CPU_VECTORS(T, name)                    \
    struct alignas(2 * sizeof(T)) name##2 {             \
        T x, y;                                         \
    };                                                  \
    struct name##3 {                                    \
        T x, y, z;                                      \
    };                                                  \
    struct alignas(4 * sizeof(T)) name##4 {             \
        T x, y, z, w;                                   \
    };                                                  \
    inline name##2 make_##name##2(T x, T y) {           \
        return {x, y};                                  \
    }                                                   \
    inline name##3 make_##name##3(T x, T y, T z) {      \
        return {x, y, z};                               \
    }                                                   \
    inline name##4 make_##name##4(T x, T y, T z, T w) { \
        return {x, y, z, w};                            \
    }
CUDA_ON_CPU_VECTORS(float, float)
CUDA_ON_CPU_VECTORS(int, int)
CUDA_ON_CPU_VECTORS(short, short)
CUDA_ON_CPU_VECTORS(unsigned short, ushort)
CUDA_ON_CPU_VECTORS(unsigned char, uchar)
#undef CUDA_ON_CPU_VECTORS

struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};
struct alignas(16) double2 {
    double x, y;
};
inline uint2 make_uint2(unsigned x, unsigned y) {
    return {x, y};
}
inline uint3 make_uint3(unsigned x, unsigned y, unsigned z) {
    return {x, y, z};
}
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) {
    return {x, y, z, w};
}
inline double2 make_double2(double x, double y) {
    return {x, y};
}

// ---- bits as another type -----------------------------------------------------------------------

namespace cuda_on_cpu {

template <class To, class From>
inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "sizes differ");
    To to;
    std::memcpy(&to, &from, sizeof(to));
    return to;
}

#if defined(__aarch64__)
using HalfNumber = __fp16;  // g++ 12 has no _Float16 there
#else
using HalfNumber = _Float16;
#endif

}  // namespace cuda_on_cpu

inline unsigned __float_as_uint(float value) {
    return cuda_on_cpu::bits_as<unsigned>(value);
}
inline int __float_as_int(float value) {
    return cuda_on_cpu::bits_as<int>(value);
}
inline float __uint_as_float(unsigned bits) {
    return cuda_on_cpu::bits_as<float>(bits);
}
inline float __int_as_float(int bits) {
    return cuda_on_cpu::bits_as<float>(bits);
}
inline long long __double_as_longlong(double value) {
    return cuda_on_cpu::bits_as<long long>(value);
}
inline double __longlong_as_double(long long bits) {
    return cuda_on_cpu::bits_as<double>(bits);
}

// ---- half ---------------------------------------------------------------------------------------

struct __half {
    cuda_on_cpu::HalfNumber number;
};
using half = __half;
struct alignas(4) __half2 {
    half x, y;
};
using half2 = __half2;

inline float __half2float(half value) {
    return static_cast<float>(value.number);
}
inline half __float2half(float value) {
    return {static_cast<cuda_on_cpu::HalfNumber>(value)};
}
inline half __float2half_rn(float value) {
    return __float2half(value);
}
inline half __double2half(double value) {
    return {static_cast<cuda_on_cpu::HalfNumber>(value)};
}
inline unsigned short __half_as_ushort(half value) {
    return cuda_on_cpu::bits_as<unsigned short>(value);
}
inline half __ushort_as_half(unsigned short bits) {
    return cuda_on_cpu::bits_as<half>(bits);
}
inline float2 __half22float2(half2 pair) {
    return {__half2float(pair.x), __half2float(pair.y)};
}
inline half2 __floats2half2_rn(float low, float high) {
    return {__float2half(low), __float2half(high)};
}
inline half2 __float22half2_rn(float2 pair) {
    return __floats2half2_rn(pair.x, pair.y);
}
inline half2 __float2half2_rn(float value) {
    return __floats2half2_rn(value, value);
}
inline half2 __halves2half2(half low, half high) {
    return {low, high};
}
inline half2 __half2half2(half value) {
    return {value, value};
}
inline half __low2half(half2 pair) {
    return pair.x;
}
inline half __high2half(half2 pair) {
    return pair.y;
}
inline float __low2float(half2 pair) {
    return __half2float(pair.x);
}
inline float __high2float(half2 pair) {
    return __half2float(pair.y);
}
