// ptx_on_cpu.cpp: mma.sync, ldmatrix and cp.async, for a whole warp at a time.

#include "ptx_on_cpu.h"

#include <cmath>
#include <cstring>

#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

// Halves 2 i and 2 i + 1 of a register.
void unpack(std::uint32_t pair, float* low, float* high) {
    HalfNumber numbers[2];
    std::memcpy(numbers, &pair, sizeof pair);
    *low = static_cast<float>(numbers[0]);
    *high = static_cast<float>(numbers[1]);
}

// A sum as a tensor core leaves it: cut off, not rounded, to the 24 bits of a float. Long chains of
// products lose accuracy through this, and a kernel has to fold them in time.
float truncated(double exact) {
    const float rounded = static_cast<float>(exact);
    return std::fabs(rounded) > std::fabs(exact) && std::isfinite(rounded)
               ? std::nextafterf(rounded, 0.0f)
               : rounded;
}

// d += a b; the comment at mma_m16n8k16 in ptx.cuh tells what each lane holds.
void multiply(unsigned, void* const* payloads) {
    float a[16][16], b[16][8], d[16][8] = {};
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        const Product& mine = *static_cast<const Product*>(payloads[lane]);
        const unsigned group = lane / 4, pair = lane % 4 * 2;
        for (unsigned i = 0; i < 4; ++i) {
            float* const to = &a[group + i % 2 * 8][pair + i / 2 * 8];
            unpack(mine.a[i], to, to + 1);
        }
        for (unsigned i = 0; i < 2; ++i) {
            unpack(mine.b[i], &b[pair + i * 8][group], &b[pair + i * 8 + 1][group]);
        }
    }
    for (int row = 0; row < 16; ++row) {
        for (int k = 0; k < 16; ++k) {
            for (int column = 0; column < 8; ++column) {
                d[row][column] += a[row][k] * b[k][column];
            }
        }
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        float* const mine = static_cast<const Product*>(payloads[lane])->d;
        for (unsigned i = 0; i < 4; ++i) {
            mine[i] = truncated(static_cast<double>(mine[i]) +
                                d[lane / 4 + i / 2 * 8][lane % 4 * 2 + i % 2]);
        }
    }
}

template <bool transposed>
void deal_rows(unsigned, void* const* payloads) {
    std::uint16_t matrices[4][8][8];
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        std::memcpy(
            matrices[lane / 8][lane % 8], &static_cast<const Rows*>(payloads[lane])->row, 16);
    }
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        const unsigned row = lane / 4, column = lane % 4 * 2;
        for (unsigned i = 0; i < 4; ++i) {
            const std::uint32_t low =
                transposed ? matrices[i][column][row] : matrices[i][row][column];
            const std::uint32_t high =
                transposed ? matrices[i][column + 1][row] : matrices[i][row][column + 1];
            static_cast<const Rows*>(payloads[lane])->parts[i] = low | high << 16;
        }
    }
}

}  // namespace

const Collective kProduct{"mma.sync", true, false, multiply};
const Collective kLoadMatrix{"ldmatrix", true, false, deal_rows<false>};
const Collective kLoadMatrixTransposed{"ldmatrix.trans", true, false, deal_rows<true>};

void begin_copy(void* to, const void* from, Site site) {
    const Unseen unseen;
    need_shared("cp.async", to, 16, 16, site);
    if (reinterpret_cast<std::uintptr_t>(from) % 16 != 0) {
        fail_at(site, "cp.async: the source %p is not aligned to 16 bytes", from);
    }
    current->copies.push_back({to, from});
}

void close_copies() {
    const Unseen unseen;
    std::size_t closed = 0;
    for (const std::size_t group : current->groups) {
        closed += group;
    }
    current->groups.push_back(current->copies.size() - closed);
}

bool next_landing(std::size_t groups_left, void** to, const void** from) {
    const Unseen unseen;
    std::vector<std::size_t>& groups = current->groups;
    while (groups.size() > groups_left && groups.front() == 0) {
        groups.erase(groups.begin());
    }
    if (groups.size() <= groups_left) {
        return false;
    }
    --groups.front();
    *to = current->copies.front().to;
    *from = current->copies.front().from;
    current->copies.erase(current->copies.begin());
    return true;
}

void land_copies(Thread& thread) {
    for (const Copy& copy : thread.copies) {
        if (copy.from == nullptr) {
            std::memset(copy.to, 0, 16);
        } else {
            std::memcpy(copy.to, copy.from, 16);
        }
    }
    thread.copies.clear();
    thread.groups.clear();
}

}  // namespace cuda_on_cpu
