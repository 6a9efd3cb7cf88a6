// fiber.h: stacks that the scheduler switches between, and what the sanitizers must know about it.
//
// The scheduler's own files are never compiled with a sanitizer, so that its memory is invisible to
// ThreadSanitizer. Macros tell them which sanitizer the kernels are compiled with.

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
    void* stack_pointer = nullptr;  // valid while the fiber does not run
    char* stack = nullptr;          // null: the host's own stack
    void* address_sanitizer = nullptr;
    void* thread_sanitizer = nullptr;
};

// The host's fiber is the one that runs when a launch begins.
void adopt_host(Fiber& host);
// Makes the fiber start `main` on its stack when first switched to. `main` must not return.
void prepare(Fiber& fiber, int stagger, void (*main)());
// `main` calls this first of all.
void entered();
// Runs `to` until something switches back. A fiber that ends is never switched to again.
void switch_fiber(Fiber& from, Fiber& to, bool from_ends);

// Allocates a stack with pages below it that may not be touched. It is never freed.
char* allocate_stack();

// ---- ThreadSanitizer ----------------------------------------------------------------------------

// Two accesses race unless a chain of these orders them: a release after the first one, an acquire
// of the same token before the second.
void release(void* token);
void acquire(void* token);
// A fiber with a context for ThreadSanitizer: the one that was not used for longest. Making a new
// one takes a quarter of a millisecond. Reusing one orders its last thread before its next, so that
// races between blocks may go unseen if they are thousands of threads apart.
Fiber fiber_to_watch();

// While an object of this type lives, ThreadSanitizer does not see what the fiber reads and writes.
struct Unseen {
    Unseen();
    ~Unseen();
};

}  // namespace cuda_on_cpu CUDA_ON_CPU_LOCAL
