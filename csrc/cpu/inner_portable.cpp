// inner_portable.cpp: the inner kernels for the processor that the compiler assumes anyway: NEON on
// arm64, else "generic" (SSE2 on x86-64).

#include "inner.h"

#if defined(__aarch64__)
#define PYNST_ISA neon
#else
#define PYNST_ISA generic
#endif
// clang-format off
#include "inner/lanes_portable.h"
#include "inner/table.h"
