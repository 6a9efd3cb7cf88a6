// runtime.h: the part of CUDA's runtime that launchers and bindings call. Device memory is memory.

#pragma once

#include <cstddef>

#include "machine.h"

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorMemoryAllocation = 2,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorNoDevice = 100,
};
enum cudaMemcpyKind {
    cudaMemcpyHostToHost,
    cudaMemcpyHostToDevice,
    cudaMemcpyDeviceToHost,
    cudaMemcpyDeviceToDevice,
    cudaMemcpyDefault,
};
enum cudaFuncAttribute {
    cudaFuncAttributeMaxDynamicSharedMemorySize = 8,
    cudaFuncAttributePreferredSharedMemoryCarveout = 9,
};
enum cudaDeviceAttr {
    cudaDevAttrMaxSharedMemoryPerBlock = 8,
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrComputeCapabilityMajor = 75,
    cudaDevAttrComputeCapabilityMinor = 76,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
struct cudaFuncAttributes {
    int ptxVersion, binaryVersion;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes;
    cudaStream_t stream;
    void* attrs;
    unsigned numAttrs;
};
struct CUevent_st;
using cudaEvent_t = CUevent_st*;
constexpr unsigned cudaEventDisableTiming = 2;
struct cudaDeviceProp {
    char name[256];
    std::size_t totalGlobalMem;
    std::size_t sharedMemPerBlock;
    std::size_t sharedMemPerBlockOptin;
    int multiProcessorCount;
    int major, minor;
    int warpSize;
    int maxThreadsPerBlock;
};

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {
cudaError_t allow_dynamic_shared(const void* kernel, int bytes);
cudaError_t noted(cudaError_t error);  // keeps an error for cudaGetLastError, as the runtime does
}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL

CUDA_ON_CPU_LOCAL cudaError_t cudaGetLastError();
CUDA_ON_CPU_LOCAL cudaError_t cudaPeekAtLastError();
CUDA_ON_CPU_LOCAL const char* cudaGetErrorString(cudaError_t error);
CUDA_ON_CPU_LOCAL const char* cudaGetErrorName(cudaError_t error);
CUDA_ON_CPU_LOCAL cudaError_t cudaGetDeviceCount(int* count);
CUDA_ON_CPU_LOCAL cudaError_t cudaGetDevice(int* device);
CUDA_ON_CPU_LOCAL cudaError_t cudaSetDevice(int device);
CUDA_ON_CPU_LOCAL cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device);
CUDA_ON_CPU_LOCAL cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device);
CUDA_ON_CPU_LOCAL cudaError_t cudaRuntimeGetVersion(int* version);
CUDA_ON_CPU_LOCAL cudaError_t cudaDriverGetVersion(int* version);
CUDA_ON_CPU_LOCAL cudaError_t cudaDeviceSynchronize();
CUDA_ON_CPU_LOCAL cudaError_t cudaStreamSynchronize(cudaStream_t stream);
CUDA_ON_CPU_LOCAL cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags);
CUDA_ON_CPU_LOCAL cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
CUDA_ON_CPU_LOCAL cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned);
CUDA_ON_CPU_LOCAL cudaError_t cudaEventDestroy(cudaEvent_t event);
CUDA_ON_CPU_LOCAL cudaError_t cudaMalloc(void** memory, std::size_t bytes);
CUDA_ON_CPU_LOCAL cudaError_t cudaFree(void* memory);
CUDA_ON_CPU_LOCAL cudaError_t cudaMemset(void* to, int value, std::size_t bytes);
CUDA_ON_CPU_LOCAL cudaError_t cudaMemsetAsync(void* to,
                                              int value,
                                              std::size_t bytes,
                                              cudaStream_t stream = nullptr);
CUDA_ON_CPU_LOCAL cudaError_t cudaMemcpy(void* to,
                                         const void* from,
                                         std::size_t bytes,
                                         cudaMemcpyKind kind);
CUDA_ON_CPU_LOCAL cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t = nullptr);

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
    return attribute == cudaFuncAttributeMaxDynamicSharedMemorySize
               ? cuda_on_cpu::noted(cuda_on_cpu::allow_dynamic_shared(
                     reinterpret_cast<const void*>(kernel), value))
               : cudaSuccess;
}
// Kernels are compiled anew for this device, as for one of compute capability 9.0.
template <class Kernel>
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, Kernel*) {
    *attributes = {90, 90};
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxPotentialClusterSize(int* blocks, Kernel*, const cudaLaunchConfig_t*) {
    *blocks = 8;
    return cudaSuccess;
}
template <class T>
cudaError_t cudaMalloc(T** memory, std::size_t bytes) {
    return cudaMalloc(reinterpret_cast<void**>(memory), bytes);
}
