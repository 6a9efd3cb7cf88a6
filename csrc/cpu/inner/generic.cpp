// generic.cpp: the inner kernels for the instruction set that the compiler assumes without a flag:
// "neon" on arm64, "generic" elsewhere (on x86-64 that is SSE2).

#include "inner.h"

#if defined(__aarch64__)
#define PYNST_ISA neon
#else
#define PYNST_ISA generic
#endif
// clang-format off
#include "inner/lanes_generic.h"
#include "inner/table.h"
