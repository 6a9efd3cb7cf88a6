// product_ring.cuh: a ring of stages in shared memory, filled while it is used.
//
//   fetch(step, slot)   starts the copies of a step's tiles to a slot of the ring
//   land(slot)          ends them; the next barrier publishes the slot
//   use(slot)           multiplies the tiles of a slot
//
// Fetching runs kStages - 1 steps ahead. A slot is filled again right after the barrier that
// follows its last use, so that one barrier in each step serves both purposes.

#pragma once

#include "ptx.cuh"

namespace pynst {

template <int kStages, class Fetch, class Land, class Use>
__device__ __forceinline__ void run_ring(int steps, Fetch fetch, Land land, Use use) {
#pragma unroll
    for (int step = 0; step < kStages - 1; ++step) {
        if (step < steps) {
            fetch(step, step);
            land(step);
        }
        cp_async_commit();  // one group in each step, even an empty one: waiting counts groups
    }
    int slot = 0, ahead = kStages - 1;
    for (int step = 0; step < steps; ++step) {
        cp_async_wait<kStages - 2>();
        __syncthreads();
        const bool more = step + kStages - 1 < steps;
        if (more) {
            fetch(step + kStages - 1, ahead);
        }
        cp_async_commit();
        use(slot);
        if (more) {
            land(ahead);
        }
        slot = slot == kStages - 1 ? 0 : slot + 1;
        ahead = ahead == kStages - 1 ? 0 : ahead + 1;
    }
}

}  // namespace pynst
