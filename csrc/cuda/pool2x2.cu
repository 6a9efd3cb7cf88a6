// pool2x2.cu: 2x2 pooling with stride 2, mean or maximum, and its gradient.
//
//   y = mean or max of each 2 x 2 square;   dx = dy / 4, or dy at the chosen one and 0 elsewhere
//
//   in      x (H, W, padded(C)); backward: dy (H / 2, W / 2, padded(C)), for the maximum the
//           choices.
//   out     y (H / 2, W / 2, padded(C)), for the maximum the choices, 2 bits each (0 1 / 2 3, the
//           first of equals); backward: dx (H, W, padded(C)), overwritten.
//   mapping one thread per square and eight channels, channels fastest: neighbouring threads read
//           and write neighbouring 16 bytes (of halves). A row of blocks per row of squares.
//   bounds  any C, H, W >= 1; an odd last row or column is dropped, its gradient is zero.
//   order   (a + b) + (c + d), fixed.
//   cost    one pass over x and y: 42 MB of halves for 64 channels of 512 x 512 (estimate for an
//           H200 at 4.3 TB/s: 10 us), and 2 MB of choices.

#include "inner/common.cuh"
#include "inner/lanes.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 256;

// What one thread works on: eight channels of square (row, column), in arrays of pixels of `groups`
// times eight channels.
struct Square {
    int row, column, group, groups;
    bool inside;

    __device__ Square(int groups_, int squares_in_row) : groups(groups_) {
        const int item = blockIdx.y * kThreads + threadIdx.x;
        row = blockIdx.x;
        column = item / groups;
        group = item % groups;
        inside = column < squares_in_row;
    }
    // The index, in units of eight channels, of this thread's channels of pixel (y, x) in an image
    // of width W.
    __device__ size_t at(int y, int x, int W) const {
        return (static_cast<size_t>(y) * W + x) * groups + group;
    }
};

template <class T, Pooling kMode>
__global__ void pool2x2_kernel(
    const T* __restrict__ x, int groups, int W, T* __restrict__ y, uint16_t* __restrict__ choices) {
    const int w = W / 2;
    const Square square(groups, w);
    if (!square.inside) {
        return;
    }
    float corner[4][kLanes], result[kLanes];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        const size_t from = square.at(2 * square.row + i / 2, 2 * square.column + i % 2, W);
        load_lanes(x + from * kLanes, corner[i]);
    }
    unsigned chosen = 0;
#pragma unroll
    for (int lane = 0; lane < kLanes; ++lane) {
        if (kMode == Pooling::average) {
            result[lane] =
                0.25f * ((corner[0][lane] + corner[1][lane]) + (corner[2][lane] + corner[3][lane]));
            continue;
        }
        float best = corner[0][lane];
        unsigned choice = 0;
#pragma unroll
        for (unsigned i = 1; i < 4; ++i) {
            const float other = corner[i][lane];
            const bool better = other > best || other != other;  // a NaN counts as the maximum
            best = better ? other : best;
            choice = better ? i : choice;
        }
        result[lane] = best;
        chosen |= choice << (2 * lane);
    }
    const size_t to = square.at(square.row, square.column, w);
    store_lanes(y + to * kLanes, result);
    if (choices != nullptr) {
        choices[to] = static_cast<uint16_t>(chosen);
    }
}

template <class T, Pooling kMode>
__global__ void pool2x2_backward_kernel(const T* __restrict__ dy,
                                        const uint16_t* __restrict__ choices,
                                        int groups,
                                        int H,
                                        int W,
                                        T* __restrict__ dx) {
    const Square square(groups, (W + 1) / 2);
    if (!square.inside) {
        return;
    }
    float gradient[kLanes] = {};
    unsigned chosen = 0;
    if (square.row < H / 2 && square.column < W / 2) {
        const size_t from = square.at(square.row, square.column, W / 2);
        load_lanes(dy + from * kLanes, gradient);
        chosen = kMode == Pooling::max ? choices[from] : 0;
    }
#pragma unroll
    for (unsigned i = 0; i < 4; ++i) {
        const int row = 2 * square.row + i / 2, column = 2 * square.column + i % 2;
        float share[kLanes];
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
            const bool here = (chosen >> (2 * lane) & 3) == i;
            share[lane] = kMode == Pooling::average ? 0.25f * gradient[lane]
                          : here                    ? gradient[lane]
                                                    : 0.0f;
        }
        if (row < H && column < W) {
            store_lanes(dx + square.at(row, column, W) * kLanes, share);
        }
    }
}

dim3 grid_for(int groups, int rows, int columns) {
    return dim3(rows, (static_cast<unsigned>(groups) * columns - 1) / kThreads + 1);
}

}  // namespace

template <class T>
void pool2x2(
    const T* x, int C, int H, int W, Pooling mode, T* y, uint16_t* choices, cudaStream_t stream) {
    if (H < 2 || W < 2) {
        return;  // nothing is left of the image
    }
    const int groups = padded(C) / kLanes;
    const dim3 grid = grid_for(groups, H / 2, W / 2);
    if (mode == Pooling::average) {
        LAUNCH((pool2x2_kernel<T, Pooling::average>),
               (grid),
               (kThreads),
               0,
               stream,
               x,
               groups,
               W,
               y,
               nullptr);
    } else {
        LAUNCH((pool2x2_kernel<T, Pooling::max>),
               (grid),
               (kThreads),
               0,
               stream,
               x,
               groups,
               W,
               y,
               choices);
    }
    CHECK_LAUNCH("pool2x2");
}

template <class T>
void pool2x2_backward(const T* dy,
                      int C,
                      int H,
                      int W,
                      Pooling mode,
                      const uint16_t* choices,
                      T* dx,
                      cudaStream_t stream) {
    const int groups = padded(C) / kLanes;
    const dim3 grid = grid_for(groups, (H + 1) / 2, (W + 1) / 2);
    if (mode == Pooling::average) {
        LAUNCH((pool2x2_backward_kernel<T, Pooling::average>),
               (grid),
               (kThreads),
               0,
               stream,
               dy,
               nullptr,
               groups,
               H,
               W,
               dx);
    } else {
        LAUNCH((pool2x2_backward_kernel<T, Pooling::max>),
               (grid),
               (kThreads),
               0,
               stream,
               dy,
               choices,
               groups,
               H,
               W,
               dx);
    }
    CHECK_LAUNCH("pool2x2_backward");
}

template void pool2x2(const float*, int, int, int, Pooling, float*, uint16_t*, cudaStream_t);
template void pool2x2(const half*, int, int, int, Pooling, half*, uint16_t*, cudaStream_t);
template void pool2x2_backward(
    const float*, int, int, int, Pooling, const uint16_t*, float*, cudaStream_t);
template void pool2x2_backward(
    const half*, int, int, int, Pooling, const uint16_t*, half*, cudaStream_t);

}  // namespace pynst
