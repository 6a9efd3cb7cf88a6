// avx512.cpp: the inner kernels compiled for AVX-512 (F, BW, DQ, VL).

#include "inner.h"

#define PYNST_ISA avx512
// clang-format off
#include "inner/lanes_avx512.h"
#include "inner/table.h"
