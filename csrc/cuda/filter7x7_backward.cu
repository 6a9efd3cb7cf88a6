// filter7x7_backward.cu: the gradient of the built-in filters with respect to the image.
//
//   dx_p += sum over f of w_f^T * ((dy_2f where y_2f > 0) - (dy_2f+1 where y_2f+1 > 0)) / scale
//
//   in      dy (H, W, padded(2 K)) times the loss scale, the bits, w (K, 49) float32, plane (K);
//           the loss scale or null for 1.
//   out     dx (3, H, W) float32, added to, no longer scaled.
//   mapping a block makes 32 x 32 pixels of one plane of the gradient of the image with its border,
//           which goes to scratch (3, H + 6, W + 6). It reads dy eight filters at a time, those
//           that read its plane, into shared memory; a thread sums 2 x 4 pixels in registers. A
//           second kernel adds what fell on the border to the pixels that it mirrors.
//   bounds  any K >= 1; H, W >= 3.
//   order   filters, rows of dy, taps, in float32.
//   cost    49 multiply-adds per filter and pixel: 1.7 GFLOP for 67 filters of 512 x 512 (estimate
//           for an H200 at 60 TFLOP/s: 29 us). Reading dy takes less: 71 MB of halves (17 us at
//           4.3 TB/s) and 35 MB of halos from the L2 cache. Filters sorted by plane are read once.

#include "inner/lanes.cuh"
#include "inner/tiles.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 128;
constexpr int kTile = 32;  // pixels along each side
constexpr int kOwnRows = 2, kOwnColumns = 4;
constexpr int kBorder = 3, kTaps = 7;
constexpr int kHalo = kTaps - 1;  // rows of dy before the tile that contribute to it
constexpr int kSource = kTile + kHalo;
constexpr int kPitch = kSource + 2;  // a multiple of four floats
constexpr int kFilters = 8;          // in shared memory at a time: 32 bytes of halves per pixel
constexpr int kWeightPitch = 52;     // 49 taps, a multiple of four
constexpr int kDynamicBytes =
    kFilters * (kSource * kPitch + kWeightPitch) * static_cast<int>(sizeof(float));
static_assert(kTile / kOwnRows * (kTile / kOwnColumns) == kThreads, "one thread per 2 x 4 pixels");

// One layer's arrays.
template <class T>
struct Gradient {
    const T* __restrict__ dy;
    const uint8_t* __restrict__ bits;
    const float* __restrict__ w;
    const int* __restrict__ plane;
    int K, H, W;
};

// 1. gradients of z for eight filters where the bits allow them, and the filters' weights
template <class T>
__device__ __forceinline__ void stage(
    const Gradient<T>& job, TileOrigin origin, int first, float* dz, float* weights) {
    constexpr int kGroups = 2 * kFilters / kLanes;
    const int groups = padded(2 * job.K) / kLanes;
    for (int i = threadIdx.x; i < kSource * kSource * kGroups; i += kThreads) {
        const int group = 2 * first / kLanes + i % kGroups;
        const int row = i / kGroups / kSource, column = i / kGroups % kSource;
        const int y = origin.row + row - kHalo, x = origin.column + column - kHalo;
        float values[kLanes] = {};
        unsigned bits = 0;
        if (y >= 0 && y < job.H && x >= 0 && x < job.W && group < groups) {
            const size_t at = (static_cast<size_t>(y) * job.W + x) * groups + group;
            load_lanes(job.dy + at * kLanes, values);
            bits = job.bits[at];
        }
        float* to = dz + (i % kGroups * kLanes / 2 * kSource + row) * kPitch + column;
#pragma unroll
        for (int f = 0; f < kLanes / 2; ++f) {
            to[f * kSource * kPitch] = (bits >> (2 * f) & 1 ? values[2 * f] : 0.0f) -
                                       (bits >> (2 * f + 1) & 1 ? values[2 * f + 1] : 0.0f);
        }
    }
    for (int i = threadIdx.x; i < kFilters * kWeightPitch; i += kThreads) {
        const int filter = first + i / kWeightPitch, tap = i % kWeightPitch;
        const bool valid = filter < job.K && tap < kTaps * kTaps;
        weights[i] = valid ? job.w[filter * kTaps * kTaps + tap] : 0.0f;
    }
}

// 2. adds the gradient that comes through one filter to the pixels of this thread; dz[0] is the
// first value that they need
__device__ __forceinline__ void add_filter(const float* __restrict__ dz,
                                           const float* __restrict__ weights,
                                           float (&own)[kOwnRows][kOwnColumns]) {
    float w[kWeightPitch];
#pragma unroll
    for (int i = 0; i < kWeightPitch; i += 4) {
        const float4 four = *reinterpret_cast<const float4*>(weights + i);
        w[i] = four.x;
        w[i + 1] = four.y;
        w[i + 2] = four.z;
        w[i + 3] = four.w;
    }
#pragma unroll
    for (int source = 0; source < kOwnRows + kHalo; ++source) {
        float line[kOwnColumns + kHalo + 2];
#pragma unroll
        for (int i = 0; i < kOwnColumns + kHalo; i += 4) {
            const float4 four = *reinterpret_cast<const float4*>(dz + source * kPitch + i);
            line[i] = four.x;
            line[i + 1] = four.y;
            line[i + 2] = four.z;
            line[i + 3] = four.w;
        }
#pragma unroll
        for (int row = 0; row < kOwnRows; ++row) {
            const int tap_row = row + kHalo - source;
            if (tap_row < 0 || tap_row >= kTaps) {
                continue;
            }
#pragma unroll
            for (int tap_column = 0; tap_column < kTaps; ++tap_column) {
#pragma unroll
                for (int column = 0; column < kOwnColumns; ++column) {
                    own[row][column] +=
                        w[tap_row * kTaps + tap_column] * line[column + kHalo - tap_column];
                }
            }
        }
    }
}

// Gradient of one plane of the image with its border.
template <class T>
__global__ void __launch_bounds__(kThreads)
    filter7x7_backward_kernel(Gradient<T> job, float* __restrict__ bordered) {
    DYN_SHARED(float, dz);
    float* const weights = dz + kFilters * kSource * kPitch;
    const int H = job.H + 2 * kBorder, W = job.W + 2 * kBorder, plane = blockIdx.y;
    const TileOrigin origin(W, kTile, kTile);
    const int row = threadIdx.x / (kTile / kOwnColumns) * kOwnRows;
    const int column = threadIdx.x % (kTile / kOwnColumns) * kOwnColumns;
    float own[kOwnRows][kOwnColumns] = {};
    for (int first = 0; first < job.K; first += kFilters) {
        unsigned wanted = 0;  // the same in all threads
        for (int f = 0; f < kFilters; ++f) {
            wanted |= (first + f < job.K && job.plane[first + f] == plane ? 1u : 0u) << f;
        }
        if (wanted == 0) {
            continue;
        }
        __syncthreads();
        stage(job, origin, first, dz, weights);
        __syncthreads();
#pragma unroll 1
        for (int f = 0; f < kFilters; ++f) {
            if (wanted >> f & 1) {
                add_filter(
                    dz + (f * kSource + row) * kPitch + column, weights + f * kWeightPitch, own);
            }
        }
    }
#pragma unroll
    for (int i = 0; i < kOwnRows * kOwnColumns; ++i) {
        const int y = origin.row + row + i / kOwnColumns;
        const int x = origin.column + column + i % kOwnColumns;
        if (y < H && x < W) {
            bordered[(static_cast<size_t>(plane) * H + y) * W + x] =
                own[i / kOwnColumns][i % kOwnColumns];
        }
    }
}

// Adds to each pixel its gradient and those of the pixels of the border that mirror it.
__global__ void fold_border_kernel(const float* __restrict__ bordered,
                                   int H,
                                   int W,
                                   const GradientScale* scale,
                                   float* __restrict__ dx) {
    const int row = blockIdx.x % H, plane = blockIdx.x / H;
    const int column = blockIdx.y * kThreads + threadIdx.x;
    if (column >= W) {
        return;
    }
    const int rows[3] = {row, -1 - row, 2 * H - 1 - row};
    const int columns[3] = {column, -1 - column, 2 * W - 1 - column};
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 9; ++i) {
        const int y = rows[i / 3] + kBorder, x = columns[i % 3] + kBorder;
        if (y >= 0 && y < H + 2 * kBorder && x >= 0 && x < W + 2 * kBorder) {
            const size_t line = static_cast<size_t>(plane) * (H + 2 * kBorder) + y;
            sum += bordered[line * (W + 2 * kBorder) + x];
        }
    }
    dx[static_cast<size_t>(blockIdx.x) * W + column] += sum / gradient_scale_of(scale);
}

}  // namespace

size_t filter7x7_scratch(int /*K*/, int H, int W) {
    return static_cast<size_t>(3) * (H + 2 * kBorder) * (W + 2 * kBorder) * sizeof(float);
}

template <class T>
void filter7x7_backward(const T* dy,
                        const uint8_t* bits,
                        const float* w,
                        const int* plane,
                        int K,
                        int H,
                        int W,
                        const GradientScale* scale,
                        float* dx,
                        void* scratch,
                        cudaStream_t stream) {
    const Gradient<T> job = {dy, bits, w, plane, K, H, W};
    float* const bordered = static_cast<float*>(scratch);
    const auto kernel = filter7x7_backward_kernel<T>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kDynamicBytes),
          "filter7x7_backward");
    LAUNCH(kernel,
           (tiles(H + 2 * kBorder, W + 2 * kBorder, kTile, kTile), 3),
           (kThreads),
           kDynamicBytes,
           stream,
           job,
           bordered);
    CHECK_LAUNCH("filter7x7_backward");
    LAUNCH(fold_border_kernel,
           (3 * H, (W - 1) / kThreads + 1),
           (kThreads),
           0,
           stream,
           bordered,
           H,
           W,
           scale,
           dx);
    CHECK_LAUNCH("filter7x7_backward");
}

template void filter7x7_backward(const float*,
                                 const uint8_t*,
                                 const float*,
                                 const int*,
                                 int,
                                 int,
                                 int,
                                 const GradientScale*,
                                 float*,
                                 void*,
                                 cudaStream_t);
template void filter7x7_backward(const half*,
                                 const uint8_t*,
                                 const float*,
                                 const int*,
                                 int,
                                 int,
                                 int,
                                 const GradientScale*,
                                 float*,
                                 void*,
                                 cudaStream_t);

}  // namespace pynst
