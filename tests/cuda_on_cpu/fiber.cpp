// fiber.cpp: see fiber.h.

#include "fiber.h"

#include <sys/mman.h>

#include <cstring>
#include <vector>

#ifdef CUDA_ON_CPU_SANITIZE_ADDRESS
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef CUDA_ON_CPU_SANITIZE_THREAD
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

// Pushes what a callee must keep, stores the stack pointer at *from, and goes on where the stack
// `to` left off. Jumps instead of returning: the processor's return predictor would guess wrong.
extern "C" CUDA_ON_CPU_LOCAL void cuda_on_cpu_switch(void** from, void* to);

#if defined(__x86_64__)

asm(R"(
    .text
    .hidden cuda_on_cpu_switch
    .globl cuda_on_cpu_switch
    .type cuda_on_cpu_switch, @function
cuda_on_cpu_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    popq %rcx
    jmpq *%rcx
    .size cuda_on_cpu_switch, . - cuda_on_cpu_switch
)");

namespace {
// Six registers, the address to go to, and a return address of zero, which ends a backtrace.
void* first_frame(char* top, void (*main)()) {
    void** const frame = reinterpret_cast<void**>(top) - 8;
    std::memset(frame, 0, 8 * sizeof(void*));
    frame[6] = reinterpret_cast<void*>(main);
    return frame;
}
}  // namespace

#elif defined(__aarch64__)

asm(R"(
    .text
    .hidden cuda_on_cpu_switch
    .globl cuda_on_cpu_switch
    .type cuda_on_cpu_switch, %function
cuda_on_cpu_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    br x30
    .size cuda_on_cpu_switch, . - cuda_on_cpu_switch
)");

namespace {
void* first_frame(char* top, void (*main)()) {
    void** const frame = reinterpret_cast<void**>(top) - 20;
    std::memset(frame, 0, 20 * sizeof(void*));
    frame[11] = reinterpret_cast<void*>(main);  // x30
    return frame;
}
}  // namespace

#else
#error "cuda_on_cpu_switch is written for x86-64 and aarch64"
#endif

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kGuardBytes = 64 * 1024;  // a multiple of any page

// The host's stack, as AddressSanitizer tells it when the first fiber is entered.
[[maybe_unused]] const void* host_stack = nullptr;
[[maybe_unused]] std::size_t host_stack_bytes = 0;

}  // namespace

void adopt_host([[maybe_unused]] Fiber& host) {
#ifdef CUDA_ON_CPU_SANITIZE_THREAD
    host.thread_sanitizer = __tsan_get_current_fiber();
#endif
}

void prepare(Fiber& fiber, int stagger, void (*main)()) {
    // Neighbours' frames begin at different offsets: else they would share few sets of the cache.
    fiber.stack_pointer = first_frame(fiber.stack + kStackBytes - stagger % 32 * 448, main);
}

void entered() {
#ifdef CUDA_ON_CPU_SANITIZE_ADDRESS
    const void* stack;
    std::size_t bytes;
    __sanitizer_finish_switch_fiber(nullptr, &stack, &bytes);
    if (host_stack == nullptr) {
        host_stack = stack;
        host_stack_bytes = bytes;
    }
#endif
}

void switch_fiber([[maybe_unused]] Fiber& from, Fiber& to, [[maybe_unused]] bool from_ends) {
#ifdef CUDA_ON_CPU_SANITIZE_ADDRESS
    if (from.stack == nullptr) {
        host_stack = nullptr;  // another host thread may launch this time
    }
    __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.address_sanitizer,
                                   to.stack == nullptr ? host_stack : to.stack,
                                   to.stack == nullptr ? host_stack_bytes : kStackBytes);
#endif
#ifdef CUDA_ON_CPU_SANITIZE_THREAD
    __tsan_switch_to_fiber(to.thread_sanitizer, __tsan_switch_to_fiber_no_sync);
#endif
    cuda_on_cpu_switch(&from.stack_pointer, to.stack_pointer);
#ifdef CUDA_ON_CPU_SANITIZE_ADDRESS
    __sanitizer_finish_switch_fiber(from.address_sanitizer, nullptr, nullptr);
#endif
}

char* allocate_stack() {
    void* const memory = mmap(nullptr,
                              kGuardBytes + kStackBytes,
                              PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                              -1,
                              0);
    if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE) != 0) {
        fail("no memory for a thread's stack");
    }
    return static_cast<char*>(memory) + kGuardBytes;
}

#ifdef CUDA_ON_CPU_SANITIZE_THREAD

void release(void* token) {
    __tsan_release(token);
}
void acquire(void* token) {
    __tsan_acquire(token);
}
Fiber fiber_to_watch() {
    constexpr std::size_t kFibers = 4096;  // ThreadSanitizer has room for some 8000
    static std::vector<Fiber> fibers;
    static std::size_t next = 0;
    if (fibers.size() < kFibers) {
        Fiber fiber;
        fiber.stack = allocate_stack();
        fiber.thread_sanitizer = __tsan_create_fiber(0);
        fibers.push_back(fiber);
    }
    return fibers[next++ % kFibers];
}
Unseen::Unseen() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}
Unseen::~Unseen() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

#else

void release(void*) {}
void acquire(void*) {}
Fiber fiber_to_watch() {
    return {};
}
Unseen::Unseen() {}
Unseen::~Unseen() {}

#endif

}  // namespace cuda_on_cpu
