// fiber.h: stacks that the scheduler switches between, and what the sanitizers must know of it.
//
// The files behind this header are never compiled with a sanitizer themselves, so that the
// scheduler's own memory is invisible to ThreadSanitizer; they are told by macros which one the
// kernels are compiled with.

#pragma once

#include <cstddef>

#include "machine.h"

namespace cuda_on_cpu CUDA_ON_CPU_LOCAL {

#ifdef CUDA_ON_CPU_SANITIZE_THREAD
constexpr bool kFindRaces = true;
#else
constexpr bool kFindRaces = false;
#endif

#if defined(CUDA_ON_CPU_SANITIZE_THREAD) || defined(CUDA_ON_CPU_SANITIZE_ADDRESS)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

constexpr std::size_t kStackBytes = (kSanitized ? 256 : 128) * 1024;

struct Fiber {
    void* stack_pointer = nullptr;  // while it does not run
    char* stack = nullptr;          // null: the host's own
    void* address_sanitizer = nullptr;
    void* thread_sanitizer = nullptr;
};

// The host's fiber is the one that runs when a launch begins.
void adopt_host(Fiber& host);
// Makes the fiber start `main` on its stack when first switched to. `main` must not return.
void prepare(Fiber& fiber, int stagger, void (*main)());
// To be called first thing in `main`.
void entered();
// Runs `to` until something switches back. A fiber that ends is never switched to again.
void switch_fiber(Fiber& from, Fiber& to, bool from_ends);

// A stack with pages below that may not be touched, for ever.
char* allocate_stack();

// ---- ThreadSanitizer -----------------------------------------------------------------------------

// A race is what no chain of these orders: a release before, an acquire of the same token after.
void release(void* token);
void acquire(void* token);
// A fiber with a context of ThreadSanitizer's, the one that has rested longest. To make one takes a
// quarter of a millisecond; to reuse one orders its last thread before its next, so that races
// between blocks may go unseen where they are thousands of threads apart.
Fiber fiber_to_watch();

// While one lives, ThreadSanitizer does not see what this fiber reads and writes.
struct Unseen {
    Unseen();
    ~Unseen();
};

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL
