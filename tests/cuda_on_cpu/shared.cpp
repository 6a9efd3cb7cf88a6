// shared.cpp: shared memory of the blocks that run, and its limits.
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

std::map<const void*, std::size_t> allowed;  // what cudaFuncSetAttribute allowed each kernel

// The most shared memory that a block gets: 227 KB on Hopper, 99 or 64 KB on other devices.
std::size_t device_limit() {
    const char* const text = std::getenv("CUDA_ON_CPU_SHARED_KB");
    return 1024 * (text == nullptr ? 227 : std::strtoul(text, nullptr, 10));
}

void* allocate(Block& of, const SharedArray* line, std::size_t bytes, std::size_t alignment) {
    void* memory = nullptr;
    if (posix_memalign(&memory, alignment, std::max<std::size_t>(bytes, 1)) != 0) {
        fail("no memory for the shared array %s", line == nullptr ? "dynamic" : line->name);
    }
    std::memset(memory, 0xff, bytes);
    of.shared.arrays.push_back({line, static_cast<char*>(memory), bytes});
    return memory;
}

// The array of that line in a block, or null.
const Bytes* array_of(const Block& of, const SharedArray* line) {
    const std::vector<Bytes>& arrays = of.shared.arrays;
    const auto found = std::find_if(
        arrays.begin(), arrays.end(), [=](const Bytes& array) { return array.line == line; });
    return found == arrays.end() ? nullptr : &*found;
}

bool holds(const Bytes& array, const void* from, std::size_t bytes) {
    const char* const p = static_cast<const char*>(from);
    return p >= array.memory && p + bytes <= array.memory + array.count;
}

// The array of a block that holds these bytes, or null.
const Bytes* array_with(Block& of, const void* from, std::size_t bytes) {
    const std::vector<Bytes>& arrays = of.shared.arrays;
    std::size_t& i = of.shared.last_found;
    if (i < arrays.size() && holds(arrays[i], from, bytes)) {
        return &arrays[i];
    }
    for (i = 0; i < arrays.size(); ++i) {
        if (holds(arrays[i], from, bytes)) {
            return &arrays[i];
        }
    }
    return nullptr;
}

void need_aligned(const char* what, const void* from, std::size_t alignment, Site site) {
    if (reinterpret_cast<std::uintptr_t>(from) % alignment != 0) {
        fail_at(site, "%s: %p is not aligned to %zu bytes", what, from, alignment);
    }
}

void* new_array(const SharedArray& array, std::size_t bytes) {
    Shared& shared = block->shared;
    shared.static_bytes += bytes;
    const std::size_t total = shared.static_bytes + launched->dynamic_bytes;
    const std::size_t limit = allowed.count(launched->kernel) != 0 ? device_limit() : kStaticLimit;
    if (shared.static_bytes > kStaticLimit || total > limit) {
        fail("%zu bytes of shared memory, %zu of them static: at most %zu and %zu",
             total,
             shared.static_bytes,
             limit,
             kStaticLimit);
    }
    return allocate(*block, &array, bytes, kAlignment);
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

void begin_block_shared(Block& of, std::size_t dynamic_bytes) {
    of.shared.static_bytes = of.shared.last_found = 0;
    if (dynamic_bytes != 0) {
        allocate(of, nullptr, dynamic_bytes, kDynamicAlignment);
    }
}

void end_block_shared(Block& of) {
    for (const Bytes& array : of.shared.arrays) {
        std::free(array.memory);
    }
    of.shared.arrays.clear();
}

void* dynamic_shared() {
    const Bytes* const array = array_of(*block, nullptr);
    if (array == nullptr) {
        fail("the kernel uses dynamic shared memory, and was launched with 0 bytes of it");
    }
    return array->memory;
}

void* shared_array(SharedArray& array, std::size_t bytes) {
    if (array.block != block->serial) {
        const Unseen unseen;
        const Bytes* const known = array_of(*block, &array);
        array.memory = known != nullptr ? known->memory : new_array(array, bytes);
        array.block = block->serial;
    }
    return array.memory;
}

void need_shared(
    const char* what, const void* from, std::size_t bytes, std::size_t alignment, Site site) {
    need_aligned(what, from, alignment, site);
    if (array_with(*block, from, bytes) == nullptr) {
        fail_at(site, "%s: %zu bytes at %p are not all in shared memory", what, bytes, from);
    }
}

const char* of_block(const void* p, int rank, Site site) {
    const Unseen unseen;
    if (rank < 0 || static_cast<unsigned>(rank) >= cluster.count) {
        fail_at(site, "mapa: block %d of a cluster of %u blocks", rank, cluster.count);
    }
    const Bytes* const mine = array_with(*block, p, 1);
    if (mine == nullptr) {
        fail_at(site, "mapa: %p is not in shared memory", p);
    }
    const Bytes* const other = array_of(cluster.blocks[rank], mine->line);
    if (other == nullptr) {
        fail_at(site, "mapa: block %d of the cluster has not come to this array yet", rank);
    }
    return other->memory + (static_cast<const char*>(p) - mine->memory);
}

void need_cluster_shared(const char* what, const void* from, Site site) {
    const Unseen unseen;
    need_aligned(what, from, 16, site);
    for (unsigned i = 0; i < cluster.count; ++i) {
        if (array_with(cluster.blocks[i], from, 16) != nullptr) {
            if (cluster.blocks[i].live == 0) {
                fail_at(site, "%s: block %u of the cluster has exited", what, i);
            }
            return;
        }
    }
    fail_at(site, "%s: 16 bytes at %p are not all in the shared memory of a block", what, from);
}

}  // namespace cuda_on_cpu
