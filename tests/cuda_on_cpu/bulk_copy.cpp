// bulk_copy.cpp: mbarriers, and bulk copies of boxes (TMA) that land by chance.

#include <cstring>

#include "ptx_sm90a_on_cpu.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

struct Mbarrier {
    const std::uint64_t* address;
    int count, pending;  // arrivals of a phase, and those still to come
    long bytes;          // announced and not landed
    unsigned phase;
    unsigned waiting[kMostWarps];
};
std::vector<Mbarrier> mbarriers;  // of this block

Mbarrier* find(const std::uint64_t* address) {
    for (Mbarrier& barrier : mbarriers) {
        if (barrier.address == address) {
            return &barrier;
        }
    }
    return nullptr;
}

Mbarrier& mbarrier_at(const std::uint64_t* address, Site site) {
    Mbarrier* const found = find(address);
    if (found == nullptr) {
        fail_at(site, "the mbarrier at %p was not initialised", static_cast<const void*>(address));
    }
    return *found;
}

void maybe_end_phase(Mbarrier& barrier) {
    if (barrier.pending != 0 || barrier.bytes != 0) {
        return;
    }
    ++barrier.phase;
    barrier.pending = barrier.count;
    for (unsigned w = 0; w < kMostWarps; ++w) {
        wake(w, barrier.waiting[w]);
        barrier.waiting[w] = 0;
    }
}

// One box on its way.
struct Box {
    TensorMap map;
    int at[3];
    char* tile;
    long offset;  // of the tile in shared memory: the swizzle goes by it
    const std::uint64_t* barrier;
    Site site;

    long bytes() const {
        return 128l * map.box[1] * map.box[2];
    }
    // Null where the element lies outside the array.
    const char* element(long x, long y, long z) const {
        const long from[3] = {at[0] + x, at[1] + y, at[2] + z};
        const char* p = map.base + 2 * from[0];
        for (int axis = 0; axis < 3; ++axis) {
            if (from[axis] < 0 || from[axis] >= static_cast<long>(map.size[axis])) {
                return nullptr;
            }
            p += axis == 0 ? 0 : from[axis] * static_cast<long>(map.stride[axis]);
        }
        return p;
    }
    void land() const {
        const Unseen unseen;
        for (long i = 0; i < bytes() / 2; ++i) {
            const char* const from = element(i % 64, i / 64 % map.box[1], i / 64 / map.box[1]);
            const long plain = offset + 2 * i, swizzled = plain ^ ((plain >> 7 & 7) << 4);
            char* const to = tile + (swizzled - offset);
            if (from == nullptr) {
                std::memset(to, 0, 2);
            } else {
                std::memcpy(to, from, 2);
            }
        }
        Mbarrier& waiting = mbarrier_at(barrier, site);
        waiting.bytes -= bytes();
        maybe_end_phase(waiting);
    }
};

}  // namespace

void begin_block_mbarriers() {
    mbarriers.clear();
}

TensorMap tensor_map(const void* base,
                     const std::uint64_t* size,
                     const std::uint64_t* stride,
                     const std::uint32_t* box) {
    if (reinterpret_cast<std::uintptr_t>(base) % 16 != 0 || stride[1] % 16 != 0 ||
        stride[2] % 16 != 0) {
        fail("tensor_map: address and strides must be multiples of 16 bytes");
    }
    if (box[0] != 64 || box[1] == 0 || box[1] > 256 || box[2] == 0 || box[2] > 256) {
        fail("tensor_map: a box of %u x %u x %u: 64 halves, then 1 to 256", box[0], box[1], box[2]);
    }
    TensorMap map{static_cast<const char*>(base), {}, {}, {}};
    std::memcpy(map.size, size, sizeof map.size);
    std::memcpy(map.stride, stride, sizeof map.stride);
    std::memcpy(map.box, box, sizeof map.box);
    return map;
}

void mbarrier_init(std::uint64_t* address, int arrivals, Site site) {
    const Unseen unseen;
    need_shared("mbarrier", address, 8, 8, site);
    if (arrivals < 1) {
        fail_at(site, "an mbarrier of %d arrivals", arrivals);
    }
    if (find(address) != nullptr) {
        fail_at(site, "the mbarrier is initialised twice");
    }
    mbarriers.push_back({address, arrivals, arrivals, 0, 0, {}});
}

void mbarrier_arrive(std::uint64_t* address, long bytes, Site site) {
    release(address);
    Mbarrier& barrier = mbarrier_at(address, site);
    barrier.bytes += bytes;
    if (--barrier.pending < 0) {
        fail_at(site, "the mbarrier gets more than its %d arrivals in one phase", barrier.count);
    }
    maybe_end_phase(barrier);
    maybe_yield();
}

void mbarrier_wait(std::uint64_t* address, int parity, Site site) {
    const unsigned phase = mbarrier_at(address, site).phase;
    if (static_cast<int>(phase % 2) == parity) {
        mbarrier_at(address, site).waiting[current->place.number / kLanes] |=
            1u << current->place.lane;
        wait_in("mbarrier_wait", site);
        if (mbarrier_at(address, site).phase > phase + 1) {
            fail_at(site, "the mbarrier went on by a whole phase while a thread waited for it");
        }
    }
    acquire(address);
}

void tma_load(void* tile, const TensorMap& map, std::uint64_t* barrier, const int* at, Site site) {
    const Unseen unseen;
    const long offset = static_cast<char*>(tile) - static_cast<char*>(dynamic_shared());
    Box box{map, {at[0], at[1], at[2]}, static_cast<char*>(tile), offset, barrier, site};
    need_shared("tma_load", tile, static_cast<std::size_t>(box.bytes()), 1024, site);
    mbarrier_at(barrier, site);
    std::memset(tile, 0xff, static_cast<std::size_t>(box.bytes()));
    block.tasks.push_back([box] { box.land(); });
    maybe_yield();
}

}  // namespace cuda_on_cpu
