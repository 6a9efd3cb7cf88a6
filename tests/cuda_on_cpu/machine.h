// machine.h: the part of the scheduler (scheduler.cpp) that compiled kernels call: the place of the
// running thread, waiting, shared memory, launches.
//
// Every CUDA thread is a fiber with a stack of its own; clusters of blocks run one after another,
// and within a cluster, which most often is one block, one thread runs at a time, until it waits. Whoever comes last to a meeting (a barrier, a
// shuffle, a matrix product of a warp) does the work for all. The environment variable
// CUDA_ON_CPU_SEED sets who runs next: 0 or unset in order, -1 in reverse, n > 0 by chance.
//
// A kernel that breaks a rule of CUDA's ends the process with a message that names the kernel, the
// block, the thread and the source line.

#pragma once

#include <cstddef>
#include <tuple>
#include <utility>

#include "types.h"

// One copy in each shared library, whatever flags it is compiled with.
#define CUDA_ON_CPU_LOCAL __attribute__((visibility("hidden")))

// Arguments that tell a function where it was called from.
#define CUDA_ON_CPU_SITE const char *file = __builtin_FILE(), int line = __builtin_LINE()
#define CUDA_ON_CPU_HERE  \
    ::cuda_on_cpu::Site { \
        file, line        \
    }

struct CUstream_st;
using cudaStream_t = CUstream_st*;

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

struct Site {
    const char* file;
    int line;
};

struct Place {
    uint3 thread;     // threadIdx
    unsigned number;  // x + width * (y + height * z)
    unsigned lane;
};
struct Grid {
    uint3 block;  // blockIdx of the running thread
    dim3 threads, blocks;
};
extern const Place* place;  // the place of the running thread
extern Grid grid;           // the grid of the running launch

// Ends the process; the message is printf's.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
[[noreturn]] void fail_at(Site site, const char* format, ...) __attribute__((format(printf, 2, 3)));

// ---- waiting ------------------------------------------------------------------------------------

enum class Vote { none, any, all, count };
// Waits for every thread of the block that has not exited. Returns the outcome of the vote on
// `predicate`; `called` is the name of CUDA's function, for messages.
int barrier(Vote vote, bool predicate, Site site, const char* called);

// Waits for every thread of the cluster that has not exited.
void cluster_barrier(Site site);

// Something that the lanes of a warp do together. `combine` runs once, when all lanes have arrived,
// with the payloads of the lanes in the mask.
struct Collective {
    const char* name;
    bool whole_warp;     // ".aligned": all 32 lanes have to come
    bool orders_memory;  // as __syncwarp does; shuffles do not
    void (*combine)(unsigned mask, void* const* payloads);
};
void meet(const Collective& collective, unsigned mask, void* payload, Site site);

// ---- shared memory ------------------------------------------------------------------------------

// One array of static shared memory: one SHARED line of a kernel, or of one instance of a template.
struct SharedArray {
    const char* name;
    unsigned long long block = 0;  // the block that `memory` belongs to
    void* memory = nullptr;
};
void* shared_array(SharedArray& array, std::size_t bytes);
void* dynamic_shared();
// Fails unless the bytes lie in this block's shared memory and are aligned.
void need_shared(
    const char* what, const void* from, std::size_t bytes, std::size_t alignment, Site);
// The place in the shared memory of block `rank` of the cluster at which `p` lies in this block's.
const char* of_block(const void* p, int rank, Site site);
// Fails unless the 16 bytes lie in the shared memory of a block of the cluster that has not exited,
// and are aligned.
void need_cluster_shared(const char* what, const void* from, Site site);

// ---- launches -----------------------------------------------------------------------------------

struct Launch {
    const char* name;
    Site site;
    const void* kernel;
    dim3 blocks, threads;
    std::size_t dynamic_bytes;
    unsigned cluster;  // so many blocks along z
    void (*run)(const void* parameters);
    const void* parameters;
};
void run(const Launch& launch);

template <class... Parameters, class... Arguments>
void launch(const char* name,
            Site site,
            void (*kernel)(Parameters...),
            dim3 blocks,
            dim3 threads,
            std::size_t dynamic_bytes,
            cudaStream_t,
            unsigned cluster,
            Arguments&&... arguments) {
    using Kernel = void (*)(Parameters...);
    // Arguments are converted once, as by a true launch; each thread gets a copy.
    const std::pair<Kernel, std::tuple<Parameters...>> call(
        kernel, std::tuple<Parameters...>(std::forward<Arguments>(arguments)...));
    const auto start = [](const void* p) {
        const auto& [function, parameters] = *static_cast<const decltype(call)*>(p);
        std::apply(function, parameters);
    };
    run({name,
         site,
         reinterpret_cast<const void*>(kernel),
         blocks,
         threads,
         dynamic_bytes,
         cluster,
         start,
         &call});
}

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL
