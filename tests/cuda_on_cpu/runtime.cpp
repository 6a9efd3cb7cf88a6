// runtime.cpp: see runtime.h.

#include "runtime.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

cudaError_t last_error = cudaSuccess;
cudaStream_t last_wait[2] = {};

}  // namespace

cudaError_t cuda_on_cpu::noted(cudaError_t error) {
    if (error != cudaSuccess) {
        last_error = error;
    }
    return error;
}

using cuda_on_cpu::noted;

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}
cudaError_t cudaPeekAtLastError() {
    return last_error;
}

const char* cudaGetErrorName(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "cudaSuccess";
        case cudaErrorInvalidValue:
            return "cudaErrorInvalidValue";
        case cudaErrorMemoryAllocation:
            return "cudaErrorMemoryAllocation";
        case cudaErrorInvalidConfiguration:
            return "cudaErrorInvalidConfiguration";
        default:
            return "cudaErrorNoDevice";
    }
}

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
        case cudaSuccess:
            return "no error";
        case cudaErrorInvalidValue:
            return "invalid argument";
        case cudaErrorMemoryAllocation:
            return "out of memory";
        case cudaErrorInvalidConfiguration:
            return "invalid configuration argument";
        default:
            return "no CUDA-capable device is detected";
    }
}

cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaSetDevice(int device) {
    return noted(device == 0 ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int) {
    const char* const limit = std::getenv("CUDA_ON_CPU_SHARED_KB");
    switch (which) {
        case cudaDevAttrMaxSharedMemoryPerBlock:
            *value = 48 * 1024;
            return cudaSuccess;
        case cudaDevAttrMaxSharedMemoryPerBlockOptin:
            *value = 1024 * (limit == nullptr ? 227 : std::atoi(limit));
            return cudaSuccess;
        case cudaDevAttrMultiProcessorCount:
            *value = 4;  // few, so that small arrays need several rounds of a persistent grid
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMajor:
            *value = 9;
            return cudaSuccess;
        case cudaDevAttrComputeCapabilityMinor:
            *value = 0;
            return cudaSuccess;
    }
    return noted(cudaErrorInvalidValue);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
    if (device != 0) {
        return noted(cudaErrorInvalidValue);
    }
    *properties = {};
    std::snprintf(properties->name, sizeof properties->name, "CUDA on the CPU");
    int value = 0;
    cudaDeviceGetAttribute(&value, cudaDevAttrMaxSharedMemoryPerBlockOptin, 0);
    properties->totalGlobalMem = std::size_t{1} << 33;
    properties->sharedMemPerBlock = 48 * 1024;
    properties->sharedMemPerBlockOptin = static_cast<std::size_t>(value);
    properties->multiProcessorCount = 4;
    properties->major = 9;
    properties->warpSize = 32;
    properties->maxThreadsPerBlock = 1024;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
    *version = 13000;
    return cudaSuccess;
}
cudaError_t cudaDriverGetVersion(int* version) {
    return cudaRuntimeGetVersion(version);
}
cudaError_t cudaDeviceSynchronize() {
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) {
    return cudaSuccess;
}

// Ops run at once and in order, so that an event has nothing to do: it is the stream that it was
// recorded on. A test asks which stream waited last, and for which one.
cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
    *event = reinterpret_cast<cudaEvent_t>(new cudaStream_t());
    return cudaSuccess;
}
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
    *reinterpret_cast<cudaStream_t*>(event) = stream;
    return cudaSuccess;
}
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
    last_wait[0] = stream;
    last_wait[1] = *reinterpret_cast<cudaStream_t*>(event);
    return cudaSuccess;
}
cudaError_t cudaEventDestroy(cudaEvent_t event) {
    delete reinterpret_cast<cudaStream_t*>(event);
    return cudaSuccess;
}
extern "C" __attribute__((visibility("default"))) const cudaStream_t* cuda_on_cpu_last_wait() {
    return last_wait;
}

cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    if (posix_memalign(memory, 256, bytes) != 0) {
        return noted(cudaErrorMemoryAllocation);
    }
    std::memset(*memory, 0xff, bytes);  // NaN, until written
    return cudaSuccess;
}
cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}
cudaError_t cudaMemset(void* to, int value, std::size_t bytes) {
    std::memset(to, value, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemsetAsync(void* to, int value, std::size_t bytes, cudaStream_t) {
    return cudaMemset(to, value, bytes);
}
cudaError_t cudaMemcpy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(
    void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t) {
    return cudaMemcpy(to, from, bytes, kind);
}
