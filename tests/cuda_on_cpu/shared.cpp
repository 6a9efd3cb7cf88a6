// shared.cpp: shared memory of a block, its limits, and copies on their way into it.
//
// Every array is an allocation of its own, so that AddressSanitizer sees where it ends, and begins
// as NaN in every type of float.

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>

#include "runtime.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kStaticLimit = 48 * 1024;
constexpr std::size_t kAlignment = 128, kDynamicAlignment = 1024;

struct Bytes {
    const char* name;
    char* memory;
    std::size_t count;
};
std::vector<Bytes> arrays;  // the arrays of this block
std::size_t last_found = 0;
void* dynamic = nullptr;
std::size_t dynamic_bytes = 0, static_bytes = 0;

std::map<const void*, std::size_t> allowed;  // what cudaFuncSetAttribute allowed each kernel

// The most shared memory that a block gets: 227 KB on Hopper, 99 or 64 KB on other devices.
std::size_t device_limit() {
    const char* const text = std::getenv("CUDA_ON_CPU_SHARED_KB");
    return 1024 * (text == nullptr ? 227 : std::strtoul(text, nullptr, 10));
}

void* allocate(const char* name, std::size_t bytes, std::size_t alignment) {
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, std::max<std::size_t>(bytes, 1)) != 0) {
        fail("no memory for the shared array %s", name);
    }
    std::memset(memory, 0xff, bytes);
    arrays.push_back({name, static_cast<char*>(memory), bytes});
    return memory;
}

bool holds(const Bytes& array, const void* from, std::size_t bytes) {
    const char* const p = static_cast<const char*>(from);
    return p >= array.memory && p + bytes <= array.memory + array.count;
}

}  // namespace

cudaError_t allow_dynamic_shared(const void* kernel, int bytes) {
    if (bytes < 0 || static_cast<std::size_t>(bytes) > device_limit()) {
        return cudaErrorInvalidValue;
    }
    allowed[kernel] = static_cast<std::size_t>(bytes);
    return cudaSuccess;
}

void begin_shared(const Launch& launch) {
    const auto found = allowed.find(launch.kernel);
    const std::size_t limit = found == allowed.end() ? kStaticLimit : found->second;
    if (launch.dynamic_bytes > limit) {
        fail(
            "%zu bytes of dynamic shared memory, %zu are allowed: 48 KB, or what "
            "cudaFuncSetAttribute asked for",
            launch.dynamic_bytes,
            limit);
    }
}

void begin_block_shared(std::size_t bytes) {
    dynamic_bytes = bytes;
    static_bytes = 0;
    last_found = 0;
    dynamic = bytes == 0 ? nullptr : allocate("dynamic", bytes, kDynamicAlignment);
}

void end_block_shared() {
    for (const Bytes& array : arrays) {
        std::free(array.memory);
    }
    arrays.clear();
}

void* dynamic_shared() {
    if (dynamic == nullptr) {
        fail("the kernel uses dynamic shared memory, and was launched with 0 bytes of it");
    }
    return dynamic;
}

void* shared_array(SharedArray& array, std::size_t bytes) {
    if (array.block != block.serial) {
        const Unseen unseen;
        static_bytes += bytes;
        const std::size_t total = static_bytes + dynamic_bytes;
        const std::size_t limit =
            allowed.count(launched->kernel) != 0 ? device_limit() : kStaticLimit;
        if (static_bytes > kStaticLimit || total > limit) {
            fail("%zu bytes of shared memory, %zu of them static: at most %zu and %zu",
                 total,
                 static_bytes,
                 limit,
                 kStaticLimit);
        }
        array.memory = allocate(array.name, bytes, kAlignment);
        array.block = block.serial;
    }
    return array.memory;
}

void need_shared(
    const char* what, const void* from, std::size_t bytes, std::size_t alignment, Site site) {
    if (reinterpret_cast<std::uintptr_t>(from) % alignment != 0) {
        fail_at(site, "%s: %p is not aligned to %zu bytes", what, from, alignment);
    }
    if (last_found < arrays.size() && holds(arrays[last_found], from, bytes)) {
        return;
    }
    for (last_found = 0; last_found < arrays.size(); ++last_found) {
        if (holds(arrays[last_found], from, bytes)) {
            return;
        }
    }
    fail_at(site, "%s: %zu bytes at %p are not all in shared memory", what, bytes, from);
}

}  // namespace cuda_on_cpu
