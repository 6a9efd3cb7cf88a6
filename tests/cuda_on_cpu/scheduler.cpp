// scheduler.cpp: runs a launch, cluster by cluster, one thread at a time.

#include "scheduler.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <numeric>

namespace cuda_on_cpu {

const Place* place = nullptr;
Grid grid;
Cluster cluster;
Block* block = nullptr;
Thread* current = nullptr;
Order order = Order::forward;
const Launch* launched = nullptr;

namespace {

Fiber host;
std::vector<char*> stacks;  // stacks that no thread uses
std::uint64_t random_state = 1;

// ---- who runs next ------------------------------------------------------------------------------

unsigned pick_bit(unsigned bits) {
    switch (order) {
        case Order::forward:
            return __builtin_ctz(bits);
        case Order::backward:
            return 31 - __builtin_clz(bits);
        default:
            for (unsigned skip = random_below(__builtin_popcount(bits)); skip > 0; --skip) {
                bits &= bits - 1;
            }
            return __builtin_ctz(bits);
    }
}

// Chooses a block that has ready threads.
Block& next_block() {
    unsigned ready = 0;
    for (unsigned i = 0; i < cluster.count; ++i) {
        ready |= cluster.blocks[i].ready_warps != 0 ? 1u << i : 0u;
    }
    if (ready == 0) {
        fail_deadlocked();
    }
    const bool stay = order != Order::random && block->ready_warps != 0;
    return stay ? *block : cluster.blocks[pick_bit(ready)];
}

// Chooses a ready thread and marks it as no longer ready. Null if all threads have exited.
Thread* next_thread() {
    if (cluster.live == 0) {
        return nullptr;
    }
    Block& of = next_block();
    // A warp goes on as long as it can, because its stacks are in the cache.
    const unsigned mine = current == nullptr ? 0 : current->place.number / kLanes;
    const bool stay = order != Order::random && of.warps[mine].ready != 0;
    const unsigned w = stay ? mine : pick_bit(of.ready_warps);
    Warp& warp = of.warps[w];
    const unsigned lane = pick_bit(warp.ready);
    warp.ready &= ~(1u << lane);
    if (warp.ready == 0) {
        of.ready_warps &= ~(1u << w);
    }
    return &of.threads[w * kLanes + lane];
}

// ---- the life of a thread -----------------------------------------------------------------------

void exit_thread() {
    const Unseen unseen;
    Thread& thread = *current;
    land_copies(thread);
    thread.state = State::exited;
    --block->live;
    --cluster.live;
    exit_warp(thread.place.number / kLanes, thread.place.lane);
    exit_barriers();
    release(&cluster);  // the host waits for all threads; other blocks do not
}

void run_current() {
    current->state = State::running;
    place = &current->place;
    block = current->block;
    grid.block = block->index;
}

void fiber_main();

void give_stack(Thread& thread) {
    if (kFindRaces) {
        thread.fiber = fiber_to_watch();
    } else if (stacks.empty()) {
        thread.fiber.stack = allocate_stack();
    } else {
        thread.fiber.stack = stacks.back();
        stacks.pop_back();
    }
    prepare(thread.fiber, static_cast<int>(thread.place.number), fiber_main);
}

// Goes on with another thread, or with the host if `next` is null.
void switch_to(Thread* next, bool ends) {
    Fiber& from = current == nullptr ? host : current->fiber;
    if (!kFindRaces && next != nullptr && next->state == State::fresh) {
        give_stack(*next);
    }
    current = next;
    if (next != nullptr) {
        run_current();
    }
    switch_fiber(from, next == nullptr ? host : next->fiber, ends);
}

// The main function of every fiber. Threads that never wait run on one stack, one after another.
void fiber_main() {
    entered();
    acquire(&grid);
    for (;;) {
        launched->run(launched->parameters);
        exit_thread();
        Thread* const ended = current;
        Thread* const next = next_thread();
        if (!kFindRaces && next != nullptr && next->state == State::fresh) {
            std::swap(next->fiber, ended->fiber);
            current = next;
            run_current();
            continue;
        }
        if (!kFindRaces) {  // safe: nothing is pushed on it before the switch
            stacks.push_back(ended->fiber.stack);
        }
        switch_to(next, true);
    }
}

// ---- blocks -------------------------------------------------------------------------------------

void begin_block(Block& of, uint3 index) {
    static unsigned long long serial = 0;
    const dim3 size = grid.threads;
    of.index = index;
    of.serial = ++serial;
    of.live = of.count = size.x * size.y * size.z;
    of.ready_warps = 0;
    std::fill(std::begin(of.warps), std::end(of.warps), Warp{});
    of.barrier = {};
    std::fill(std::begin(of.wait_for_cluster), std::end(of.wait_for_cluster), 0u);
    if (of.threads.size() < of.count) {
        of.threads.resize(of.count);
    }
    for (unsigned i = 0; i < of.count; ++i) {
        Thread& thread = of.threads[i];
        thread.place = {{i % size.x, i / size.x % size.y, i / (size.x * size.y)}, i, i % kLanes};
        thread.block = &of;
        thread.state = State::fresh;
        thread.fiber = Fiber{};
        of.warps[i / kLanes].ready |= 1u << i % kLanes;
    }
    for (unsigned w = 0; w * kLanes < of.count; ++w) {
        const unsigned lanes = std::min(kLanes, of.count - w * kLanes);
        of.warps[w].exited = lanes == kLanes ? 0 : ~0u << lanes;
        of.ready_warps |= 1u << w;
    }
    begin_block_shared(of, launched->dynamic_bytes);
    if (kFindRaces) {
        of.tokens = static_cast<char*>(std::malloc(kMostThreads * sizeof(void*)));
        // By the host: whoever creates a context comes before all that happens in it.
        for (unsigned i = 0; i < of.count; ++i) {
            give_stack(of.threads[i]);
        }
    }
}

void end_block(Block& of) {
    std::free(of.tokens);  // fresh ones know of no earlier meetings
    of.tokens = nullptr;
    end_block_shared(of);
}

// Runs the blocks of a cluster, of which `first` has the lowest index.
void run_cluster(uint3 first) {
    cluster.count = launched->cluster;
    cluster.arrived = cluster.live = 0;
    if (kFindRaces) {
        adopt_host(host);
        cluster.tokens = static_cast<char*>(std::malloc(2 * sizeof(void*)));
    }
    for (unsigned i = 0; i < cluster.count; ++i) {
        begin_block(cluster.blocks[i], {first.x, first.y, first.z + i});
        cluster.live += cluster.blocks[i].live;
    }
    release(&grid);  // the host comes before all threads
    block = cluster.blocks;
    switch_to(next_thread(), false);
    std::for_each(cluster.blocks, cluster.blocks + cluster.count, end_block);
    std::free(cluster.tokens);
    cluster.tokens = nullptr;
}

void read_order() {
    const char* const text = std::getenv("CUDA_ON_CPU_SEED");
    const long seed = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
    order = seed == 0 ? Order::forward : seed < 0 ? Order::backward : Order::random;
    random_state = 0x9e3779b97f4a7c15u * (static_cast<std::uint64_t>(seed) + 1) | 1;
}

void check_size(const Launch& launch) {
    const dim3 b = launch.blocks, t = launch.threads;
    const unsigned long long threads = 1ull * t.x * t.y * t.z;
    if (threads == 0 || threads > kMostThreads || t.z > 64) {
        fail("a block of %u x %u x %u threads: 1 to 1024 in all, 64 along z", t.x, t.y, t.z);
    }
    if (b.x == 0 || b.y == 0 || b.z == 0 || b.x > 0x7fffffffu || b.y > 65535 || b.z > 65535) {
        fail("a grid of %u x %u x %u blocks: 1 to 2^31 - 1 along x, 65535 along y and z",
             b.x,
             b.y,
             b.z);
    }
    if (launch.cluster == 0 || launch.cluster > kMostClustered || b.z % launch.cluster != 0) {
        fail("clusters of %u blocks along z, of %u: 1 to %u, and a divisor",
             launch.cluster,
             b.z,
             kMostClustered);
    }
}

void run_blocks(const Launch& launch) {
    const dim3 blocks = launch.blocks, size(blocks.x, blocks.y, blocks.z / launch.cluster);
    std::vector<unsigned> sequence(1ull * size.x * size.y * size.z);
    std::iota(sequence.begin(), sequence.end(), 0u);
    if (order == Order::backward) {
        std::reverse(sequence.begin(), sequence.end());
    } else if (order == Order::random) {
        for (std::size_t i = sequence.size(); i > 1; --i) {
            std::swap(sequence[i - 1], sequence[random_below(static_cast<unsigned>(i))]);
        }
    }
    for (const unsigned i : sequence) {
        const unsigned z = i / (size.x * size.y) * launch.cluster;
        run_cluster({i % size.x, i / size.x % size.y, z});
    }
}

}  // namespace

unsigned random_below(unsigned n) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return static_cast<unsigned>((random_state >> 32) % n);
}

void wake(Block& of, unsigned warp, unsigned lanes) {
    of.warps[warp].ready |= lanes;
    if (lanes != 0) {
        of.ready_warps |= 1u << warp;
    }
    for (; lanes != 0; lanes &= lanes - 1) {
        of.threads[warp * kLanes + __builtin_ctz(lanes)].state = State::ready;
    }
}

void wait_in(const char* called, Site site) {
    current->state = State::waiting;
    current->called = called;
    current->site = site;
    Thread* const next = next_thread();
    if (next == current) {
        run_current();
    } else {
        switch_to(next, false);
    }
}

void maybe_yield() {
    if (order == Order::random) {
        wake(*block, current->place.number / kLanes, 1u << current->place.lane);
        wait_in("its turn", {"", 0});
    }
}

void* barrier_token(unsigned generation) {
    return block->tokens + 8 * (generation % 2);
}

void* meeting_token(unsigned warp, int slot, unsigned generation) {
    return block->tokens + 8 * (2 + 2 * (4 * warp + slot) + generation % 2);
}

void run(const Launch& launch) {
    static std::mutex one_at_a_time;
    const std::lock_guard lock(one_at_a_time);
    const Unseen unseen;
    launched = &launch;
    block = nullptr;
    check_size(launch);
    read_order();
    begin_shared(launch);
    grid.blocks = launch.blocks;
    grid.threads = launch.threads;
    begin_faults();
    run_blocks(launch);
    end_faults();
    acquire(&cluster);
    launched = nullptr;
}

}  // namespace cuda_on_cpu
