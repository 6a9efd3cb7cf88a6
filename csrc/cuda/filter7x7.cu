// filter7x7.cu: the built-in filters, each rectified with both signs.
//
//   z_f = w_f * x on plane p(f),   y_2f = max(0, z_f),   y_2f+1 = max(0, -z_f)
//
//   in      x (3, H, W) float32, w (K, 49) float32, plane (K).
//   out     y (H, W, padded(2 K)) and, if asked, one bit per ReLU.
//   mapping a block makes 8 x 32 pixels of several groups of four filters = eight channels, one
//           warp for each group: its weights are the same for all lanes, and it sums only over the
//           planes that it reads. A lane owns a column of eight pixels. y passes through shared
//           memory, so that the groups of a pixel are written side by side.
//   bounds  any K >= 1; H, W >= 3, so that the mirrored border of three pixels exists.
//   order   tap columns, then tap rows, float32.
//   cost    49 multiply-adds per filter and pixel: 1.7 GFLOP for 67 filters of 512 x 512 (estimate
//           for an H200 at 60 TFLOP/s: 29 us). Writing y takes less: 71 MB of halves (17 us at
//           4.3 TB/s).

#include "inner/lanes.cuh"
#include "inner/tiles.cuh"

namespace pynst {
namespace {

constexpr int kRows = 8, kColumns = 32;
constexpr int kBorder = 3, kTaps = 7;
constexpr int kFilters = kLanes / 2;  // filters of a group
constexpr int kTileRows = kRows + 2 * kBorder, kTileColumns = kColumns + 2 * kBorder;
constexpr int kTile = kTileRows * kTileColumns;
constexpr int kWeightPitch = 8;  // a column of seven taps and a zero: two 16-byte loads
constexpr int kPixelPitch = kRows * kColumns + 1;  // keeps the groups of a pixel apart in the banks

// The most groups of one block: their outputs have to fit into shared memory.
template <class T>
constexpr int kGroups = 16 / static_cast<int>(sizeof(T));

// One layer's arrays.
struct Filters {
    const float* __restrict__ x;
    const float* __restrict__ w;
    const int* __restrict__ plane;
    int K, H, W;
};

// 1. the tile of all planes with its mirrored border, and the weights, a column of taps at a time
__device__ __forceinline__ void load_tile(const Filters& job,
                                          TileOrigin origin,
                                          int first_filter,
                                          int filters,
                                          float* __restrict__ image,
                                          float* __restrict__ weights) {
    for (int i = threadIdx.x; i < 3 * kTile; i += blockDim.x) {
        const int row = origin.row + i % kTile / kTileColumns - kBorder;
        const int column = origin.column + i % kTileColumns - kBorder;
        const size_t line = static_cast<size_t>(i / kTile) * job.H + mirrored(row, job.H);
        image[i] = job.x[line * job.W + mirrored(column, job.W)];
    }
    for (int i = threadIdx.x; i < filters * kTaps * kWeightPitch; i += blockDim.x) {
        const int filter = first_filter + i / (kTaps * kWeightPitch);
        const int column = i / kWeightPitch % kTaps, row = i % kWeightPitch;
        const bool valid = filter < job.K && row < kTaps;
        weights[i] = valid ? job.w[filter * kTaps * kTaps + row * kTaps + column] : 0.0f;
    }
}

// 2. z of a column of pixels and four filters; `image` and `weights` are those of this thread
__device__ __forceinline__ void correlate(const float* __restrict__ image,
                                          const float* __restrict__ weights,
                                          const int (&reads)[kFilters],
                                          float (&z)[kFilters][kRows]) {
#pragma unroll 1
    for (int plane = 0; plane < 3; ++plane) {
        if (reads[0] != plane && reads[1] != plane && reads[2] != plane && reads[3] != plane) {
            continue;
        }
#pragma unroll 1
        for (int tap_column = 0; tap_column < kTaps; ++tap_column) {
            float pixels[kTileRows];
#pragma unroll
            for (int row = 0; row < kTileRows; ++row) {
                pixels[row] = image[plane * kTile + row * kTileColumns + tap_column];
            }
#pragma unroll
            for (int f = 0; f < kFilters; ++f) {
                if (reads[f] != plane) {  // the same in all lanes
                    continue;
                }
                float w[kLanes];
                load_lanes(weights + (f * kTaps + tap_column) * kWeightPitch, w);
#pragma unroll
                for (int tap_row = 0; tap_row < kTaps; ++tap_row) {
#pragma unroll
                    for (int row = 0; row < kRows; ++row) {
                        z[f][row] += w[tap_row] * pixels[row + tap_row];
                    }
                }
            }
        }
    }
}

template <class T>
__global__ void __launch_bounds__(32 * kGroups<T>, 3)
    filter7x7_kernel(Filters job, T* __restrict__ y, uint8_t* __restrict__ bits) {
    SHARED(float, image, 3 * kTile);
    SHARED(float, weights, kGroups<T> * kFilters * kTaps * kWeightPitch);
    SHARED(T, made, kGroups<T> * kPixelPitch * kLanes);
    const TileOrigin origin(job.W, kRows, kColumns);
    const int groups = blockDim.x / 32, first_group = blockIdx.y * groups;
    const int group = threadIdx.x / 32, lane = threadIdx.x % 32;
    load_tile(job, origin, first_group * kFilters, groups * kFilters, image, weights);
    __syncthreads();

    int reads[kFilters];
    float z[kFilters][kRows] = {};
#pragma unroll
    for (int f = 0; f < kFilters; ++f) {
        const int filter = (first_group + group) * kFilters + f;
        reads[f] = filter < job.K ? job.plane[filter] : -1;
    }
    correlate(image + lane, weights + group * kFilters * kTaps * kWeightPitch, reads, z);

    // 3. both signs; rectify and store the groups of a pixel side by side
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
        float values[kLanes];
#pragma unroll
        for (int f = 0; f < kFilters; ++f) {
            values[2 * f] = z[f][row];
            values[2 * f + 1] = -z[f][row];
        }
        store_lanes(made + (group * kPixelPitch + row * kColumns + lane) * kLanes, values);
    }
    __syncthreads();
    const int all_groups = padded(2 * job.K) / kLanes;
    for (int i = threadIdx.x; i < kRows * kColumns * groups; i += blockDim.x) {
        const int from = i % groups, pixel = i / groups;
        const int row = origin.row + pixel / kColumns, column = origin.column + pixel % kColumns;
        if (first_group + from >= all_groups || row >= job.H || column >= job.W) {
            continue;
        }
        float values[kLanes];
        load_lanes(made + (from * kPixelPitch + pixel) * kLanes, values);
        const size_t to =
            (static_cast<size_t>(row) * job.W + column) * all_groups + first_group + from;
        const unsigned positive = store_rectified(y + to * kLanes, values);
        if (bits != nullptr) {
            bits[to] = static_cast<uint8_t>(positive);
        }
    }
}

}  // namespace

template <class T>
void filter7x7(const float* x,
               const float* w,
               const int* plane,
               int K,
               int H,
               int W,
               T* y,
               uint8_t* bits,
               cudaStream_t stream) {
    const Filters job = {x, w, plane, K, H, W};
    const int groups = padded(2 * K) / kLanes;
    const int blocks = (groups - 1) / kGroups<T> + 1;
    const int groups_of_block = (groups - 1) / blocks + 1;  // all blocks alike: 17 = 6 + 6 + 5
    LAUNCH((filter7x7_kernel<T>),
           (tiles(H, W, kRows, kColumns), blocks),
           (32 * groups_of_block),
           0,
           stream,
           job,
           y,
           bits);
    CHECK_LAUNCH("filter7x7");
}

template void filter7x7(
    const float*, const float*, const int*, int, int, int, float*, uint8_t*, cudaStream_t);
template void filter7x7(
    const float*, const float*, const int*, int, int, int, half*, uint8_t*, cudaStream_t);

}  // namespace pynst
