// warpgroup.cpp: the products of a warpgroup (wgmma), warp by warp.
//
// Each warp keeps its groups of products under way. They run at the wait; the four warps of a
// warpgroup then wait for each other, as the hardware computes one product for all of them.

#include <cmath>
#include <cstring>
#include <deque>
#include <limits>

#include "ptx_sm90a_on_cpu.h"
#include "scheduler.h"

namespace cuda_on_cpu {
namespace {

constexpr int kRows = 16, kDepth = 16;  // of a warp's share of a product
constexpr int kWarpgroupBarrier = 16;   // the first of eight names that kernels cannot use

// One lane's call.
struct Call {
    int n;
    float* d;
    std::uint64_t a, b;
    bool accumulate;
    Site site;
};
// The sums of one array d, out of the lanes' reach while products are under way.
struct Sums {
    float* d[kLanes];
    int n, products;
    std::vector<float> values;  // (16, n)
};
struct WarpProducts {
    std::deque<std::vector<Call>> groups;  // closed ones
    std::vector<Call> open;
    std::vector<Sums> sums;
    bool fenced = false;
};
WarpProducts warps[kMostWarps];

WarpProducts& mine() {
    return warps[current->place.number / kLanes];
}

// Which of a lane's values lies where: see wgmma_m64k16 in ptx_sm90a.cuh.
float& value_of(Sums& sums, unsigned lane, int j) {
    const unsigned row = lane / 4 + 8 * (j / 2 % 2), column = 8 * (j / 4) + lane % 4 * 2 + j % 2;
    return sums.values[row * static_cast<unsigned>(sums.n) + column];
}

// Half k of a row of an operand.
float element(std::uint64_t descriptor, int row, int k, Site site) {
    const long start = static_cast<long>(descriptor & 0x3fff) << 4;
    const long eight_rows = static_cast<long>(descriptor >> 32 & 0x3fff) << 4;
    long at = start + row / 8 * eight_rows + row % 8 * 128 + 2 * k;
    at ^= (at >> 7 & 7) << 4;
    const char* const p = static_cast<char*>(dynamic_shared()) + at;
    need_shared("wgmma", p, 2, 2, site);
    HalfNumber number;
    std::memcpy(&number, p, sizeof number);
    return static_cast<float>(number);
}

void take_sums(void* const* calls, WarpProducts& warp) {
    const Call& first = *static_cast<const Call*>(calls[0]);
    for (Sums& sums : warp.sums) {
        if (sums.d[0] == first.d) {
            ++sums.products;
            return;
        }
    }
    Sums sums{{}, first.n, 1, std::vector<float>(static_cast<std::size_t>(kRows * first.n))};
    for (unsigned lane = 0; lane < kLanes; ++lane) {
        sums.d[lane] = static_cast<const Call*>(calls[lane])->d;
        for (int j = 0; j < first.n / 2; ++j) {
            value_of(sums, lane, j) = sums.d[lane][j];
            sums.d[lane][j] = std::numeric_limits<float>::quiet_NaN();
        }
    }
    warp.sums.push_back(std::move(sums));
}

void issue(unsigned, void* const* calls) {
    const Call& first = *static_cast<const Call*>(calls[0]);
    for (unsigned lane = 1; lane < kLanes; ++lane) {
        const Call& other = *static_cast<const Call*>(calls[lane]);
        if (other.a != first.a || other.b != first.b || other.accumulate != first.accumulate) {
            fail_at(first.site, "wgmma: lanes 0 and %u give different operands", lane);
        }
    }
    if (!mine().fenced) {
        fail_at(first.site, "wgmma: no wgmma_fence since the last wgmma_wait");
    }
    if (first.a >> 62 != 1 || first.b >> 62 != 1) {
        fail_at(first.site, "wgmma: only the 128-byte swizzle is known here");
    }
    take_sums(calls, mine());
    mine().open.push_back(first);
}

void multiply(const Call& call, Sums& sums, unsigned warp) {
    float a[kRows][kDepth];
    for (int row = 0; row < kRows; ++row) {
        for (int k = 0; k < kDepth; ++k) {
            a[row][k] = element(call.a, kRows * static_cast<int>(warp % 4) + row, k, call.site);
        }
    }
    for (int column = 0; column < call.n; ++column) {
        float b[kDepth];
        for (int k = 0; k < kDepth; ++k) {
            b[k] = element(call.b, column, k, call.site);
        }
        for (int row = 0; row < kRows; ++row) {
            float sum = 0.0f;
            for (int k = 0; k < kDepth; ++k) {
                sum += a[row][k] * b[k];
            }
            float& d = sums.values[static_cast<std::size_t>(row * call.n + column)];
            d = call.accumulate ? d + sum : sum;
        }
    }
}

void finish(const Call& call, WarpProducts& warp) {
    for (std::size_t i = 0; i < warp.sums.size(); ++i) {
        Sums& sums = warp.sums[i];
        if (sums.d[0] != call.d) {
            continue;
        }
        multiply(call, sums, static_cast<unsigned>(&warp - warps));
        if (--sums.products == 0) {
            for (unsigned lane = 0; lane < kLanes; ++lane) {
                for (int j = 0; j < sums.n / 2; ++j) {
                    sums.d[lane][j] = value_of(sums, lane, j);
                }
            }
            warp.sums.erase(warp.sums.begin() + static_cast<std::ptrdiff_t>(i));
        }
        return;
    }
}

void set_fenced(unsigned, void* const*) {
    mine().fenced = true;
}

void close_group(unsigned, void* const*) {
    mine().groups.push_back(std::move(mine().open));
    mine().open.clear();
}

void run_groups(unsigned, void* const* payloads) {
    WarpProducts& warp = mine();
    const std::size_t left = static_cast<std::size_t>(*static_cast<const int*>(payloads[0]));
    while (warp.groups.size() > left) {
        for (const Call& call : warp.groups.front()) {
            finish(call, warp);
        }
        warp.groups.pop_front();
    }
    warp.fenced = false;
}

const Collective kProducts{"wgmma", true, false, issue};
const Collective kFence{"wgmma_fence", true, false, set_fenced};
const Collective kCommit{"wgmma_commit", true, false, close_group};
const Collective kWait{"wgmma_wait", true, false, run_groups};

}  // namespace

void begin_block_products() {
    for (unsigned w = 0; w * kLanes < block.count; ++w) {
        warps[w] = {};
    }
}

std::uint64_t wgmma_descriptor(const void* tile, Site site) {
    need_shared("wgmma_descriptor", tile, 16, 16, site);
    const std::uint64_t start = pynst::shared_address(tile) >> 4;
    return start | std::uint64_t{1} << 16 | std::uint64_t{1024 >> 4} << 32 | std::uint64_t{1} << 62;
}

void wgmma(int n, float* d, std::uint64_t a, std::uint64_t b, bool accumulate, Site site) {
    const Unseen unseen;
    Call call{n, d, a, b, accumulate, site};
    meet(kProducts, ~0u, &call, site);
}

void wgmma_fence(Site site) {
    meet(kFence, ~0u, nullptr, site);
}

void wgmma_commit(Site site) {
    const Unseen unseen;
    meet(kCommit, ~0u, nullptr, site);
}

void wgmma_wait(int groups, Site site) {
    const Unseen unseen;
    meet(kWait, ~0u, &groups, site);
    const int warpgroup = static_cast<int>(current->place.number / 128);
    barrier(kWarpgroupBarrier + warpgroup, 128, Vote::none, false, site, "wgmma_wait");
}

void set_registers(int n, Site site) {
    if (n < 24 || n > 256 || n % 8 != 0) {
        fail_at(site, "setmaxnreg: %d registers: a multiple of 8 from 24 to 256", n);
    }
    static const Collective kSetRegisters{"setmaxnreg", true, false, nullptr};
    meet(kSetRegisters, ~0u, nullptr, site);
}

}  // namespace cuda_on_cpu

namespace pynst {

std::uint32_t shared_address(const void* p) {
    const std::ptrdiff_t offset =
        static_cast<const char*>(p) - static_cast<const char*>(cuda_on_cpu::dynamic_shared());
    return static_cast<std::uint32_t>(offset);
}

}  // namespace pynst
