// faults.cpp: a kernel's access to memory that is not there, in words.
//
// While a launch runs, SIGSEGV and SIGBUS end the process with the message of `fail`. Sanitizers
// have handlers of their own, which tell more.

#include <signal.h>
#include <sys/mman.h>

#include <cstdlib>

#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

constexpr std::size_t kSignalStackBytes = 64 * 1024;
struct sigaction segmentation_before, bus_before;
stack_t stack_before;

void tell(int, siginfo_t* info, void*) {
    if (info->si_code == SI_KERNEL) {  // the processor tells no address
        fail("a load or store is not aligned as its type asks, or wild");
    }
    fail("a load or store at %p faulted: out of bounds, or more than %zu KB of local memory",
         info->si_addr,
         kStackBytes / 1024);
}

}  // namespace

// The handler runs on a stack of its own, since it may be the fiber's stack that overflowed.
void begin_faults() {
    if (kSanitized) {
        return;
    }
    static char memory[kSignalStackBytes];
    stack_t stack{};
    stack.ss_sp = memory;
    stack.ss_size = kSignalStackBytes;
    sigaltstack(&stack, &stack_before);
    struct sigaction action{};
    action.sa_sigaction = tell;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESETHAND;
    sigaction(SIGSEGV, &action, &segmentation_before);
    sigaction(SIGBUS, &action, &bus_before);
}

void end_faults() {
    if (kSanitized) {
        return;
    }
    sigaction(SIGSEGV, &segmentation_before, nullptr);
    sigaction(SIGBUS, &bus_before, nullptr);
    sigaltstack(&stack_before, nullptr);
}

}  // namespace cuda_on_cpu
