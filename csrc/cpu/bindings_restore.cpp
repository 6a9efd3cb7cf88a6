// bindings_restore.cpp: gets Python's lock back, or stays here for ever where the program has ended.
//
// This file is compiled without exceptions. The C library then goes back to the cleanup handler by a
// jump, as soon as it has unwound the stack down to here. With exceptions it would call the C++
// library of this module for each function on its way, and that is a crash where the two do not
// unwind alike: a module by Clang has libc++ and an unwinder of its own.

#include <Python.h>

#if !defined(_WIN32)
#include <pthread.h>
#include <unistd.h>
#endif

namespace pynst {

#if defined(_WIN32)
void restore_thread(PyThreadState* state) {
    PyEval_RestoreThread(state);  // threads end there without any unwinding
}
#else
namespace {
void stay(void*) {
    for (;;) {
        pause();
    }
}
}  // namespace

void restore_thread(PyThreadState* state) {
    pthread_cleanup_push(stay, nullptr);
    PyEval_RestoreThread(state);
    pthread_cleanup_pop(0);
}
#endif

}  // namespace pynst
