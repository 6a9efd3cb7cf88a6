// amx.cpp: the inner kernels compiled for AVX-512 and AMX (tile, bf16).

#include "inner.h"

#define PYNST_ISA amx
#define PYNST_MULTIPLY "inner/multiply_amx.h"
// clang-format off
#include "inner/lanes_avx512.h"
#include "inner/table.h"
