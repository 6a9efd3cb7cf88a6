// platform.cuh: the three macros through which kernels meet CUDA, so that g++ can compile them too.
//
//   LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)   grid, block in parentheses
//   SHARED(T, name, n)                                                n values, 128-byte aligned
//   DYN_SHARED(T, name)                                               the launch's dynamic bytes
//
// A machine without a GPU compiles the same sources through tests/cuda_on_cpu (PYNST_CUDA_ON_CPU)
// and runs them with one fiber per thread. Kernels therefore wait for no other block, and all PTX
// stands in ptx.cuh.

#pragma once

#ifdef PYNST_CUDA_ON_CPU

#include "cuda_on_cpu.h"

#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<dim3 grid, dim3 block, shared_bytes, stream>>>(__VA_ARGS__)
#define SHARED(T, name, n) __shared__ __align__(128) T name[n]
#define DYN_SHARED(T, name)                                         \
    extern __shared__ __align__(1024) unsigned char name##_bytes[]; \
    T* const name = reinterpret_cast<T*>(name##_bytes)

#endif
