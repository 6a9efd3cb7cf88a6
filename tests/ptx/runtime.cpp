// runtime.cpp: a CUDA runtime without a device, under the name of the real one.
//
// The CUDA core that nvcc has compiled is linked with this library. Every launch of a kernel is
// checked against the limits of a device and handed to a callback, with the kernel's mangled name.
// While the callback runs, `clustered` tells how many blocks along z are a cluster.

#include <cuda_runtime_api.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <string>
#include <vector>

namespace {

constexpr int kSharedByDefault = 48 * 1024;
constexpr int kBlocksAlongYZ = 65535;
constexpr int kThreads = 1024;
constexpr int kClustered = 8;  // blocks

using Callback = int (*)(
    const char* name, const unsigned* grid, const unsigned* block, size_t shared, void** arguments);

struct Kernel {
    std::string name;
    int shared = kSharedByDefault;  // bytes of dynamic shared memory that a launch may ask for
};
struct Configuration {
    dim3 grid, block;
    size_t shared;
    cudaStream_t stream;
};

Callback callback = nullptr;
int most_shared = kSharedByDefault;  // of the device, bytes
int architecture = 90;               // for which the kernels were compiled
unsigned cluster = 1;                // blocks along z of the launch that runs
cudaError_t last = cudaSuccess;
std::map<const void*, Kernel> kernels;  // by the address of their host functions
std::vector<Configuration> configurations;

cudaError_t fail(cudaError_t error) {
    if (error != cudaSuccess) {
        last = error;
    }
    return error;
}

bool is_possible(dim3 grid, dim3 block) {
    const unsigned long long threads = 1ull * block.x * block.y * block.z;
    return grid.x && grid.y && grid.z && grid.y <= kBlocksAlongYZ && grid.z <= kBlocksAlongYZ &&
           threads >= 1 && threads <= kThreads && block.z <= 64;
}

}  // namespace

extern "C" {

void set_callback(Callback function, int device_shared) {
    callback = function;
    most_shared = device_shared;
}

void set_architecture(int compute_capability) {
    architecture = compute_capability;
}

unsigned clustered() {
    return cluster;
}

// A callback for those who ask what the host alone does.
int do_nothing(const char*, const unsigned*, const unsigned*, size_t, void**) {
    return 0;
}

// ---- what nvcc's host code calls ----------------------------------------------------------------

void** __cudaRegisterFatBinary(void* binary) {
    return new void*(binary);
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void** handle) {
    delete handle;
}
void __cudaRegisterFunction(
    void**, const char* host, char*, const char* name, int, uint3*, uint3*, dim3*, dim3*, int*) {
    kernels[host].name = name;
}
void __cudaRegisterVar(void**, char*, char*, const char*, int, size_t, int, int) {}
unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, cudaStream_t stream) {
    configurations.push_back({grid, block, shared, stream});
    return 0;
}
cudaError_t __cudaPopCallConfiguration(dim3* grid, dim3* block, size_t* shared, void* stream) {
    const Configuration top = configurations.back();
    configurations.pop_back();
    *grid = top.grid;
    *block = top.block;
    *shared = top.shared;
    *static_cast<cudaStream_t*>(stream) = top.stream;
    return cudaSuccess;
}

static cudaError_t launch(
    const Kernel& kernel, dim3 grid, dim3 block, void** arguments, size_t shared, dim3 blocks = 1) {
    if (!is_possible(grid, block)) {
        return fail(cudaErrorInvalidConfiguration);
    }
    if (blocks.x != 1 || blocks.y != 1 || blocks.z > kClustered || grid.z % blocks.z != 0 ||
        (blocks.z > 1 && architecture < 90)) {
        return fail(cudaErrorInvalidClusterSize);
    }
    if (shared > static_cast<size_t>(kernel.shared) || callback == nullptr) {
        return fail(cudaErrorInvalidValue);
    }
    const unsigned grid_[3] = {grid.x, grid.y, grid.z}, block_[3] = {block.x, block.y, block.z};
    cluster = blocks.z;
    const int status = callback(kernel.name.c_str(), grid_, block_, shared, arguments);
    return fail(static_cast<cudaError_t>(status));
}
// Since CUDA 13 a launch goes by a handle of the kernel, before it by its host function.
cudaError_t __cudaGetKernel(cudaKernel_t* kernel, const void* host) {
    *kernel = reinterpret_cast<cudaKernel_t>(&kernels.at(host));
    return cudaSuccess;
}
cudaError_t __cudaLaunchKernel(
    cudaKernel_t kernel, dim3 grid, dim3 block, void** arguments, size_t shared, cudaStream_t) {
    return launch(*reinterpret_cast<const Kernel*>(kernel), grid, block, arguments, shared);
}
cudaError_t cudaLaunchKernel(
    const void* host, dim3 grid, dim3 block, void** arguments, size_t shared, cudaStream_t) {
    return launch(kernels.at(host), grid, block, arguments, shared);
}

cudaError_t cudaLaunchKernelExC(const cudaLaunchConfig_t* config,
                                const void* host,
                                void** arguments) {
    dim3 blocks(1, 1, 1);
    for (unsigned i = 0; i < config->numAttrs; ++i) {
        if (config->attrs[i].id != cudaLaunchAttributeClusterDimension) {
            return fail(cudaErrorInvalidValue);
        }
        const auto& size = config->attrs[i].val.clusterDim;
        blocks = dim3(size.x, size.y, size.z);
    }
    return launch(kernels.at(host),
                  config->gridDim,
                  config->blockDim,
                  arguments,
                  config->dynamicSmemBytes,
                  blocks);
}

// ---- what the core calls ------------------------------------------------------------------------

cudaError_t cudaFuncSetAttribute(const void* host, cudaFuncAttribute attribute, int value) {
    if (attribute == cudaFuncAttributeMaxDynamicSharedMemorySize) {
        if (value > most_shared) {
            return fail(cudaErrorInvalidValue);
        }
        kernels.at(host).shared = value > kSharedByDefault ? value : kSharedByDefault;
    }
    return cudaSuccess;
}
cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
    std::memset(attributes, 0, sizeof *attributes);
    attributes->ptxVersion = attributes->binaryVersion = architecture;
    return cudaSuccess;
}
cudaError_t cudaOccupancyMaxPotentialClusterSize(int* blocks,
                                                 const void*,
                                                 const cudaLaunchConfig_t*) {
    *blocks = kClustered;
    return cudaSuccess;
}
cudaError_t cudaGetLastError() {
    const cudaError_t error = last;
    last = cudaSuccess;
    return error;
}
const char* cudaGetErrorString(cudaError_t error) {
    static char text[32];
    std::snprintf(text, sizeof text, "error %d", static_cast<int>(error));
    return text;
}
cudaError_t cudaDriverGetVersion(int* version) {
    *version = CUDART_VERSION;
    return cudaSuccess;
}
cudaError_t cudaGetDevice(int* device) {
    *device = 0;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceCount(int* count) {
    *count = 1;
    return cudaSuccess;
}
cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
    std::memset(properties, 0, sizeof *properties);
    std::strcpy(properties->name, "PTX interpreter");
    properties->major = 9;
    return cudaSuccess;
}

}  // extern "C"
