// cuda_on_cpu.h: CUDA for g++, as far as the kernels of csrc/cuda use it.
//
// platform.cuh includes this file in place of CUDA's own where PYNST_CUDA_ON_CPU is defined. The
// very same kernels then run on a machine without a GPU, slowly and strictly: see machine.h.
//
//   types.h       vectors, half                  runtime.h     cudaError_t, memory, attributes
//   machine.h     threads, barriers, launches    intrinsics.h  shuffles, votes, atomics, arithmetic

#pragma once

#include "intrinsics.h"
#include "machine.h"
#include "runtime.h"
#include "types.h"

#define threadIdx (::cuda_on_cpu::place->thread)
#define blockIdx (::cuda_on_cpu::grid.block)
#define blockDim (::cuda_on_cpu::grid.threads)
#define gridDim (::cuda_on_cpu::grid.blocks)
#define warpSize 32

#define LAUNCH(kernel, grid_, block_, shared_bytes, stream, ...) \
    LAUNCH_CLUSTERS(kernel, grid_, block_, shared_bytes, stream, 1, __VA_ARGS__)
#define LAUNCH_CLUSTERS(kernel, grid_, block_, shared_bytes, stream, n, ...) \
    ::cuda_on_cpu::launch(#kernel,                                           \
                          ::cuda_on_cpu::Site{__FILE__, __LINE__},           \
                          kernel,                                            \
                          dim3 grid_,                                        \
                          dim3 block_,                                       \
                          shared_bytes,                                      \
                          stream,                                            \
                          n,                                                 \
                          __VA_ARGS__)
#define SHARED(T, name, n)                                     \
    static ::cuda_on_cpu::SharedArray name##_in_shared{#name}; \
    T* const name = static_cast<T*>(::cuda_on_cpu::shared_array(name##_in_shared, sizeof(T) * (n)))
#define DYN_SHARED(T, name) T* const name = static_cast<T*>(::cuda_on_cpu::dynamic_shared())
