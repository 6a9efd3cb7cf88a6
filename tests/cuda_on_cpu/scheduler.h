// scheduler.h: the threads of a cluster of blocks, who waits where, and who runs next.

#pragma once

#include <cstdint>
#include <vector>

#include "fiber.h"
#include "machine.h"

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

constexpr unsigned kMostThreads = 1024, kLanes = 32, kMostWarps = kMostThreads / kLanes;
constexpr unsigned kMostClustered = 8;  // blocks, on every device that has clusters

enum class State : std::uint8_t { fresh, ready, running, waiting, exited };
enum class Order { forward, backward, random };

struct Copy {
    void* to;
    const void* from;  // null: zeros
};

struct Block;

struct Thread {
    Place place;
    Block* block;
    State state;
    Fiber fiber;
    const char* called;  // what it waits in, and where
    Site site;
    // cp.async: copies under way, oldest first; groups[i] counts those of a closed group.
    std::vector<Copy> copies;
    std::vector<std::size_t> groups;
};

// A group of lanes of a warp that wait until all of them have arrived.
struct Meeting {
    unsigned mask = 0;  // 0: free
    unsigned arrived = 0;
    const Collective* collective = nullptr;
    Site site{};
    void* payloads[kLanes];
    unsigned generation = 0;
};

struct Warp {
    unsigned ready = 0, exited = 0;  // a bit for each lane
    Meeting meetings[4];             // at most so many groups of a warp wait at a time
};

// Where all threads of a block that have not exited wait for each other.
struct Barrier {
    unsigned arrived = 0, generation = 0, votes = 0;
    int result[2] = {};  // the votes' outcome in even and in odd generations
    Site site{};
    Vote vote = Vote::none;
    unsigned lanes[kMostWarps] = {};  // who waits
};

// An array in the shared memory of a block, and the SHARED line that it belongs to; null: the bytes
// whose number the launch gives.
struct Bytes {
    const SharedArray* line;
    char* memory;
    std::size_t count;
};

struct Shared {
    std::vector<Bytes> arrays;
    std::size_t last_found = 0, static_bytes = 0;
};

struct Block {
    uint3 index;  // blockIdx
    unsigned count = 0, live = 0;
    std::vector<Thread> threads;
    Warp warps[kMostWarps];
    unsigned ready_warps = 0;
    Barrier barrier;
    unsigned wait_for_cluster[kMostWarps];  // the lanes that wait at the cluster's barrier
    Shared shared;
    unsigned long long serial = 0;  // counts all blocks that were ever run
    char* tokens = nullptr;         // addresses for ThreadSanitizer to tell meetings apart
};

// Blocks that run at a time: a cluster, or one.
struct Cluster {
    Block blocks[kMostClustered];
    unsigned count = 1, live = 0;  // blocks; threads of all of them
    unsigned arrived = 0, generation = 0;
    Site site{};
    char* tokens = nullptr;
};

extern Cluster cluster;
extern Block* block;  // of the running thread; null between launches
extern Thread* current;
extern Order order;
extern const Launch* launched;  // the running launch; null between launches

// Called when no thread can run: prints which threads wait where, and ends the process.
[[noreturn]] void fail_deadlocked();

unsigned random_below(unsigned n);
// The running thread waits until `wake` makes it ready.
void wait_in(const char* called, Site site);
// In random order, lets other threads run first.
void maybe_yield();
void wake(Block& of, unsigned warp, unsigned lanes);
// Tokens for the block's barrier and for a warp's meeting. Even and odd generations have their own.
void* barrier_token(unsigned generation);
void* meeting_token(unsigned warp, int slot, unsigned generation);

// Lets a meeting or a barrier go on if it waited only for a thread that has exited.
void exit_warp(unsigned warp, unsigned lane);
void exit_barriers();

// ---- shared memory (shared.cpp), cp.async -------------------------------------------------------

void begin_shared(const Launch& launch);  // checks what the launch asks for
void begin_block_shared(Block& of, std::size_t dynamic_bytes);
void end_block_shared(Block& of);
void land_copies(Thread& thread);  // all copies that are under way

// Turns a fault during a launch into a message (faults.cpp).
void begin_faults();
void end_faults();

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL
