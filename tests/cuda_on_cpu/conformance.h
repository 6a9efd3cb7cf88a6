// conformance.h: what the conformance kernels share; nvcc and g++ both compile them.

#pragma once

#include "inner/ptx.cuh"
#include "kernels.h"

// conformance.py calls these by name, with pointers to device memory.
#define EXPORT extern "C" __attribute__((visibility("default")))
