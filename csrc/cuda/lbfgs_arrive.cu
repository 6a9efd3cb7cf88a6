// lbfgs_arrive.cu: the end of a step of L-BFGS: the gradient there, and all scalar products.
//
//   b = next - clip(next),   g' = (gradient where b = 0, else 0) + 2 k b
//   s = next - x,   y = g' - g,   z = h' - h,   with h = M g and h' = M g'
//   sums = b.b, g'.d, g'.h', h'.h', then v_i.g' of all 2 rows, then v_i.y
//
//   in      lbfgs_gradient: next, gradient (n), k. `gradient` is the gradient of the loss at the
//           clipped image; the penalty k b^2 leads a value beyond [0, 1] back.
//           lbfgs_arrive: x, g, h, d, next, g', h' (n), pairs v (2 rows, n).
//   out     g' (n); sums, overwritten; s and z go into rows `spare` and `rows + spare` of the
//           pairs, before their products are taken.
//   mapping a block goes over tiles of kTile values. All its threads bring g' and y of a tile into
//           shared memory; then each warp multiplies two rows of the pairs with the two.
//   bounds  any n >= 1, rows <= kMostPairRows; beyond n the tile holds zeros.
//   order   float64 throughout: a thread over its tiles, the lanes in a fixed tree, then the blocks
//           in a second kernel, one block for each sum. No atomics. The number of blocks depends on
//           n alone, so the bits depend on no device.
//   cost    reads 7 + 2 rows vectors, writes 2: 97 MB at 512 x 512 with 11 rows (estimate for an
//           H200 at 4.3 TB/s: 23 us). 24 conversions and 48 multiply-adds of float64 per value: on
//           devices with few float64 units these take longer than the memory traffic, and still far
//           less than the network.

#include "inner/common.cuh"
#include "inner/reduction.cuh"

namespace pynst {
namespace {

constexpr int kWarps = kMostPairRows;  // a warp has the s and the y of one row
constexpr int kThreads = 32 * kWarps;
constexpr int kTile = 2 * kThreads;
constexpr int kMostBlocks = 384;  // three blocks on each of 128 multiprocessors
constexpr int kOwn = 4;           // sums without the pairs: b.b, g'.d, g'.h', h'.h'
constexpr int kOthers = 2;        // vectors that the pairs are multiplied with: g', y
static_assert(lbfgs_arrive_sums(1) == kOwn + kOthers * 2,
              "kernels.h tells how many sums there are");
constexpr int kSumThreads = 128;
constexpr int kGradientThreads = 256;

size_t blocks_for(size_t n) {
    const size_t tiles = (n - 1) / kTile + 1;
    return tiles < kMostBlocks ? tiles : kMostBlocks;
}

__device__ __forceinline__ float clipped(float value) {
    return value < 0.0f ? 0.0f : value > 1.0f ? 1.0f : value;
}

__global__ void lbfgs_gradient_kernel(const float* __restrict__ next,
                                      const float* __restrict__ gradient,
                                      double pull,
                                      size_t n,
                                      float* __restrict__ next_g) {
    const size_t i = static_cast<size_t>(blockIdx.x) * kGradientThreads + threadIdx.x;
    if (i < n) {
        const double beyond = static_cast<double>(next[i]) - clipped(next[i]);
        const double of_loss = beyond != 0.0 ? 0.0 : static_cast<double>(gradient[i]);
        next_g[i] = static_cast<float>(of_loss + 2.0 * pull * beyond);
    }
}

// One value at the end of the step: writes s and z to memory, g' and y to the tile, and adds to the
// sums that need no pairs.
__device__ __forceinline__ void arrive(const Arrival& step,
                                       size_t i,
                                       double (&own)[kOwn],
                                       double* tile) {
    const float next = step.next[i];
    const double beyond = static_cast<double>(next) - clipped(next);
    const double g = step.next_g[i], h = step.next_h[i];
    step.pairs[step.spare * step.n + i] = next - step.x[i];
    step.pairs[(step.rows + step.spare) * step.n + i] = step.next_h[i] - step.h[i];
    own[0] += beyond * beyond;
    own[1] += g * step.d[i];
    own[2] += g * h;
    own[3] += h * h;
    tile[0] = g;
    tile[kTile] = g - step.g[i];
}

// Adds the products of one row of the pairs with g', s and y, over the values of a tile.
__device__ __forceinline__ void multiply(const float* row,
                                         size_t left,
                                         const double* tile,
                                         double (&sums)[kOthers]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int j = 0; j < kTile; j += 32) {
        const size_t i = j + lane;
        const double value = i < left ? row[i] : 0.0f;
#pragma unroll
        for (int other = 0; other < kOthers; ++other) {
            sums[other] += value * tile[other * kTile + i];
        }
    }
}

// partials: (sums, blocks)
__global__ void __launch_bounds__(kThreads)
    lbfgs_arrive_kernel(Arrival step, double* __restrict__ partials) {
    SHARED(double, tile, kOthers* kTile);
    SHARED(double, own_of_warp, kWarps* kOwn);
    const int warp = threadIdx.x / 32, vectors = 2 * step.rows;
    double own[kOwn] = {}, sums[2][kOthers] = {};

    const size_t stride = static_cast<size_t>(gridDim.x) * kTile;
    for (size_t first = static_cast<size_t>(blockIdx.x) * kTile; first < step.n; first += stride) {
        // 1. g' and y of the tile, once all warps are done with the tile before
        __syncthreads();
        for (int i = threadIdx.x; i < kTile; i += kThreads) {
            tile[i] = tile[kTile + i] = 0.0;
            if (first + i < step.n) {
                arrive(step, first + i, own, tile + i);
            }
        }
        __syncthreads();
        // 2. their products with two rows of the pairs
#pragma unroll
        for (int half_of_rows = 0; half_of_rows < 2; ++half_of_rows) {
            const int vector = warp + half_of_rows * step.rows;
            if (warp < step.rows) {
                multiply(
                    step.pairs + vector * step.n + first, step.n - first, tile, sums[half_of_rows]);
            }
        }
    }

    // 3. sums of the block
#pragma unroll
    for (int k = 0; k < kOwn; ++k) {
        const double sum = warp_sum(own[k]);
        if (threadIdx.x % 32 == 0) {
            own_of_warp[warp * kOwn + k] = sum;
        }
    }
    __syncthreads();
    if (threadIdx.x < kOwn) {
        double sum = 0.0;
        for (int w = 0; w < kWarps; ++w) {
            sum += own_of_warp[w * kOwn + threadIdx.x];
        }
        partials[static_cast<size_t>(threadIdx.x) * gridDim.x + blockIdx.x] = sum;
    }
#pragma unroll
    for (int k = 0; k < 2 * kOthers; ++k) {
        const double sum = warp_sum(sums[k / kOthers][k % kOthers]);
        const int vector = warp + k / kOthers * step.rows;
        const size_t slot = kOwn + k % kOthers * vectors + vector;
        if (threadIdx.x % 32 == 0 && warp < step.rows) {
            partials[slot * gridDim.x + blockIdx.x] = sum;
        }
    }
}

// Adds the partial sums of the blocks; one block for each sum.
__global__ void lbfgs_sums_kernel(const double* __restrict__ partials,
                                  int blocks,
                                  double* __restrict__ sums) {
    double sum = 0.0;
    for (int i = threadIdx.x; i < blocks; i += kSumThreads) {
        sum += partials[static_cast<size_t>(blockIdx.x) * blocks + i];
    }
    sum = block_sum<kSumThreads>(sum);
    if (threadIdx.x == 0) {
        sums[blockIdx.x] = sum;
    }
}

}  // namespace

void lbfgs_gradient(const float* next,
                    const float* gradient,
                    double pull,
                    size_t n,
                    float* next_g,
                    cudaStream_t stream) {
    LAUNCH(lbfgs_gradient_kernel,
           (static_cast<unsigned>((n - 1) / kGradientThreads + 1)),
           (kGradientThreads),
           0,
           stream,
           next,
           gradient,
           pull,
           n,
           next_g);
    CHECK_LAUNCH("lbfgs_gradient");
}

size_t lbfgs_arrive_scratch(int rows, size_t n) {
    return lbfgs_arrive_sums(rows) * blocks_for(n) * sizeof(double);
}

void lbfgs_arrive(const Arrival& step, double* sums, void* scratch, cudaStream_t stream) {
    auto* partials = static_cast<double*>(scratch);
    const auto blocks = static_cast<unsigned>(blocks_for(step.n));
    LAUNCH(lbfgs_arrive_kernel, (blocks), (kThreads), 0, stream, step, partials);
    CHECK_LAUNCH("lbfgs_arrive");
    LAUNCH(lbfgs_sums_kernel,
           (lbfgs_arrive_sums(step.rows)),
           (kSumThreads),
           0,
           stream,
           partials,
           static_cast<int>(blocks),
           sums);
    CHECK_LAUNCH("lbfgs_arrive");
}

}  // namespace pynst
