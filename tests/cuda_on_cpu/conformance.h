// conformance.h: what the conformance kernels share; nvcc and g++ both compile them.

#pragma once

#include "kernels.h"
#include "ptx.cuh"

// conformance.py calls these by name, with pointers to device memory.
#define EXPORT extern "C" __attribute__((visibility("default")))
