// warp.cpp: shuffles and votes.

#include "intrinsics.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

struct Ballot {
    bool predicate;
    unsigned result;
};

template <class Payload>
Payload& of(void* const* payloads, unsigned lane) {
    return *static_cast<Payload*>(payloads[lane]);
}

void exchange(unsigned mask, void* const* payloads) {
    for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
        const unsigned lane = static_cast<unsigned>(__builtin_ctz(lanes));
        Shuffled& mine = of<Shuffled>(payloads, lane);
        const unsigned source = static_cast<unsigned>(mine.source) % kLanes;
        if ((mask >> source & 1) == 0) {
            fail_at(current->site,
                    "a shuffle's lane %u reads lane %u, which takes no part in it (%08x do)",
                    lane,
                    source,
                    mask);
        }
        mine.result = of<Shuffled>(payloads, source).value;
    }
}

void vote(unsigned mask, void* const* payloads) {
    unsigned result = 0;
    for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
        const unsigned lane = static_cast<unsigned>(__builtin_ctz(lanes));
        result |= of<Ballot>(payloads, lane).predicate ? 1u << lane : 0u;
    }
    for (unsigned lanes = mask; lanes != 0; lanes &= lanes - 1) {
        of<Ballot>(payloads, static_cast<unsigned>(__builtin_ctz(lanes))).result = result;
    }
}

}  // namespace

const Collective kSyncWarp{"__syncwarp", false, true, nullptr};
const Collective kShuffle{"__shfl_sync", false, false, exchange};
const Collective kShuffleUp{"__shfl_up_sync", false, false, exchange};
const Collective kShuffleDown{"__shfl_down_sync", false, false, exchange};
const Collective kShuffleXor{"__shfl_xor_sync", false, false, exchange};
const Collective kBallot{"a warp's vote", false, false, vote};

unsigned ballot(unsigned mask, bool predicate, Site site) {
    Ballot mine{predicate, 0};
    meet(kBallot, mask, &mine, site);
    return mine.result;
}

}  // namespace cuda_on_cpu
