// avx2.cpp: the inner kernels compiled for AVX2 with FMA.

#include "inner.h"

#define PYNST_ISA avx2
// clang-format off
#include "inner/lanes_avx2.h"
#include "inner/table.h"
