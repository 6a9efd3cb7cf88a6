// platform.cuh: the four macros through which kernels meet CUDA, so that g++ can compile them too.
//
//   LAUNCH(kernel, grid, block, shared_bytes, stream, arguments...)   grid, block in parentheses
//   LAUNCH_CLUSTERS(kernel, grid, block, shared_bytes, stream, n, arguments...)
//                                            the same, each n blocks along z as one cluster
//   SHARED(T, name, n)                                                n values, 128-byte aligned
//   DYN_SHARED(T, name)                                               the launch's dynamic bytes
//
// A machine without a GPU compiles the same sources through tests/cuda_on_cpu (PYNST_CUDA_ON_CPU)
// and runs them with one fiber per thread. Kernels therefore wait for no block outside of their
// cluster, and all PTX stands in ptx.cuh.

#pragma once

#ifdef PYNST_CUDA_ON_CPU

#include "cuda_on_cpu.h"

#else

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#define LAUNCH(kernel, grid, block, shared_bytes, stream, ...) \
    kernel<<<dim3 grid, dim3 block, shared_bytes, stream>>>(__VA_ARGS__)
#define LAUNCH_CLUSTERS(kernel, grid, block, shared_bytes, stream, n, ...) \
    ::pynst::launch_clusters(kernel, dim3 grid, dim3 block, shared_bytes, stream, n, __VA_ARGS__)
#define SHARED(T, name, n) __shared__ __align__(128) T name[n]
#define DYN_SHARED(T, name)                                         \
    extern __shared__ __align__(1024) unsigned char name##_bytes[]; \
    T* const name = reinterpret_cast<T*>(name##_bytes)

#ifdef __CUDACC__

namespace pynst {

// Clusters need compute capability 9.0. With n = 1 this is a launch like any other. As with any
// other, cudaGetLastError tells whether it failed.
template <class... Parameters, class... Arguments>
void launch_clusters(void (*kernel)(Parameters...),
                     dim3 grid,
                     dim3 block,
                     size_t shared_bytes,
                     cudaStream_t stream,
                     unsigned n,
                     const Arguments&... arguments) {
    cudaLaunchAttribute cluster = {};
    cluster.id = cudaLaunchAttributeClusterDimension;
    cluster.val.clusterDim.x = cluster.val.clusterDim.y = 1;
    cluster.val.clusterDim.z = n;
    cudaLaunchConfig_t config = {};
    config.gridDim = grid;
    config.blockDim = block;
    config.dynamicSmemBytes = shared_bytes;
    config.stream = stream;
    config.attrs = &cluster;
    config.numAttrs = n > 1 ? 1 : 0;
    cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace pynst

#endif

#endif
