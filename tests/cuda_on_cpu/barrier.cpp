// barrier.cpp: how the threads of a block, or the lanes of a warp, wait for each other.

#include <cstring>

#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

bool same_line(Site a, Site b) {
    return a.line == b.line && (a.file == b.file || std::strcmp(a.file, b.file) == 0);
}

// ---- barriers -----------------------------------------------------------------------------------

int outcome(const Barrier& barrier) {
    switch (barrier.vote) {
        case Vote::any:
            return barrier.votes > 0;
        case Vote::all:
            return barrier.votes == barrier.arrived;
        default:
            return static_cast<int>(barrier.votes);
    }
}

void open(Barrier& barrier) {
    barrier.result[barrier.generation % 2] = outcome(barrier);
    ++barrier.generation;
    barrier.arrived = barrier.votes = 0;
    for (unsigned w = 0; w * kLanes < block->count; ++w) {
        wake(*block, w, barrier.lanes[w]);
        barrier.lanes[w] = 0;
    }
}

void open_cluster() {
    ++cluster.generation;
    cluster.arrived = 0;
    for (Block* of = cluster.blocks; of < cluster.blocks + cluster.count; ++of) {
        for (unsigned w = 0; w * kLanes < of->count; ++w) {
            wake(*of, w, of->wait_for_cluster[w]);
            of->wait_for_cluster[w] = 0;
        }
    }
}

const Collective kClusterBarrier{"barrier.cluster", true, false, nullptr};

// ---- meetings -----------------------------------------------------------------------------------

Meeting& meeting_of(Warp& warp, unsigned mask, Site site) {
    Meeting* free = nullptr;
    for (Meeting& meeting : warp.meetings) {
        if (meeting.mask == mask) {
            return meeting;
        }
        if (meeting.mask == 0) {
            free = &meeting;
        }
    }
    if (free == nullptr) {
        fail_at(site, "the lanes of a warp wait in more than 4 different groups");
    }
    free->mask = mask;
    return *free;
}

void check_meeting(const Meeting& meeting,
                   const Collective& collective,
                   const Warp& warp,
                   unsigned mask,
                   Site site) {
    if ((mask >> current->place.lane & 1) == 0) {
        fail_at(site,
                "%s: lane %u is not in its own mask %08x",
                collective.name,
                current->place.lane,
                mask);
    }
    if (collective.whole_warp && (mask != ~0u || warp.exited != 0)) {
        fail_at(
            site, "%s needs all 32 lanes; these have exited: %08x", collective.name, warp.exited);
    }
    if (meeting.arrived != 0 &&
        (meeting.collective != &collective || !same_line(meeting.site, site))) {
        fail_at(site,
                "divergent warp: lane %u calls %s while others wait in %s at %s:%d",
                current->place.lane,
                collective.name,
                meeting.collective->name,
                meeting.site.file,
                meeting.site.line);
    }
}

// All lanes have arrived: does the work and lets the waiting lanes go on.
void hold(Meeting& meeting, unsigned warp, unsigned waiting) {
    const unsigned arrived = meeting.arrived;
    current->site = meeting.site;
    if (meeting.collective->combine != nullptr) {
        meeting.collective->combine(arrived, meeting.payloads);
    }
    ++meeting.generation;
    meeting.mask = meeting.arrived = 0;
    wake(*block, warp, waiting);
}

}  // namespace

int barrier(Vote vote, bool predicate, Site site, const char* called) {
    Barrier& barrier = block->barrier;
    const unsigned generation = barrier.generation;
    if (barrier.arrived != 0 && !same_line(barrier.site, site)) {
        fail_at(site,
                "divergent barrier: threads wait in %s here and others at %s:%d",
                called,
                barrier.site.file,
                barrier.site.line);
    }
    barrier.site = site;
    barrier.vote = vote;
    barrier.votes += predicate ? 1 : 0;
    if (kFindRaces) {
        release(barrier_token(generation));
    }
    if (++barrier.arrived == block->live) {
        open(barrier);
        maybe_yield();
    } else {
        barrier.lanes[current->place.number / kLanes] |= 1u << current->place.lane;
        wait_in(called, site);
    }
    if (kFindRaces) {
        acquire(barrier_token(generation));
    }
    return barrier.result[generation % 2];
}

void cluster_barrier(Site site) {
    meet(kClusterBarrier, ~0u, nullptr, site);  // ".aligned"
    if (cluster.arrived != 0 && !same_line(cluster.site, site)) {
        fail_at(site,
                "divergent barrier: threads wait in barrier.cluster here and others at %s:%d",
                cluster.site.file,
                cluster.site.line);
    }
    cluster.site = site;
    void* const token = kFindRaces ? cluster.tokens + 8 * (cluster.generation % 2) : nullptr;
    if (kFindRaces) {
        release(token);
    }
    if (++cluster.arrived == cluster.live) {
        open_cluster();
        maybe_yield();
    } else {
        block->wait_for_cluster[current->place.number / kLanes] |= 1u << current->place.lane;
        wait_in("barrier.cluster", site);
    }
    if (kFindRaces) {
        acquire(token);
    }
}

void meet(const Collective& collective, unsigned mask, void* payload, Site site) {
    const unsigned w = current->place.number / kLanes, lane = current->place.lane;
    Warp& warp = block->warps[w];
    Meeting& meeting = meeting_of(warp, mask, site);
    check_meeting(meeting, collective, warp, mask, site);
    const bool orders = kFindRaces && collective.orders_memory;
    void* const token =
        orders ? meeting_token(w, static_cast<int>(&meeting - warp.meetings), meeting.generation)
               : nullptr;
    if (orders) {
        release(token);
    }
    meeting.collective = &collective;
    meeting.site = site;
    meeting.payloads[lane] = payload;
    meeting.arrived |= 1u << lane;
    if ((mask & ~warp.exited & ~meeting.arrived) == 0) {
        hold(meeting, w, meeting.arrived & ~(1u << lane));
        maybe_yield();
    } else {
        wait_in(collective.name, site);
    }
    if (orders) {
        acquire(token);
    }
}

void exit_warp(unsigned w, unsigned lane) {
    Warp& warp = block->warps[w];
    warp.exited |= 1u << lane;
    for (Meeting& meeting : warp.meetings) {
        if (meeting.arrived != 0 && (meeting.mask & ~warp.exited & ~meeting.arrived) == 0) {
            if (meeting.collective->whole_warp) {
                fail_at(meeting.site,
                        "%s needs all 32 lanes; lane %u has exited",
                        meeting.collective->name,
                        lane);
            }
            hold(meeting, w, meeting.arrived);
        }
    }
}

void exit_barriers() {
    if (block->barrier.arrived != 0 && block->barrier.arrived == block->live) {
        open(block->barrier);
    }
    if (cluster.arrived != 0 && cluster.arrived == cluster.live) {
        open_cluster();
    }
}

}  // namespace cuda_on_cpu
