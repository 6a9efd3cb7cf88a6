// image_conv3x3_relu.cu: the first convolution, which reads the image.
//
//   y = max(0, w * x + b)
//
//   in      x (3, H, W) float32, w (27, padded(N)) float32, row 3 * tap + plane, b (N).
//   out     y (H, W, padded(N)) and, if asked, one bit per ReLU.
//   mapping a block makes a tile of pixels x 64 channels from a tile of x with its padding. float:
//           a thread owns 8 pixels of a row x 8 channels, w and x in shared memory. half: on tensor
//           cores. Shared memory holds a pixel as eight halves, the three planes and their rounding
//           errors, so that one row of an ldmatrix is one tap of one pixel. A warp holds the
//           weights of 32 channels in registers and multiplies 16 pixels at a time. The channels
//           are dealt to the columns of the products so that a thread ends with eight neighbouring
//           channels: one 16-byte store, one byte of bits.
//   bounds  any N, H, W >= 1, both kinds of padding; half: |x| < 65504.
//   order   float: plane, tap row, tap column. half: taps in the order of the products, float32
//           sums of halves. w is rounded to half, as all weights are in this precision; x is not.
//   cost    27 N multiply-adds per pixel. 512 x 512, N = 64, half: writes 33.6 MB of y and 2.1 MB
//           of bits, reads 3.1 MB (estimate for an H200 at 4.3 TB/s: 9 us); 2.7 GFLOP of padded
//           products take less. float: 0.9 GFLOP (15 us at 60 TFLOP/s), and 72 MB (17 us).

#include "inner/lanes.cuh"
#include "inner/ptx.cuh"
#include "inner/tiles.cuh"

namespace pynst {
namespace {

constexpr int kThreads = 256;
constexpr int kTaps = 9;
constexpr int kChunk = 64;  // channels of a block
constexpr int kColumns = 32;
constexpr int kPitch = kColumns + 2;  // of a tile with its border

template <class T>
constexpr int kRows = 8;
template <>
constexpr int kRows<half> = 16;  // fewer blocks have to prepare the products' weights

// The arrays and sizes of one launch.
struct Convolution {
    const float* __restrict__ x;
    const float* __restrict__ w;
    const float* __restrict__ b;
    int N, H, W;
    Padding padding;

    // Plane `plane` of pixel `i` of a tile with its border.
    __device__ float pixel(TileOrigin origin, int i, int plane) const {
        return padded_pixel(x + static_cast<size_t>(plane) * H * W,
                            origin.row + i / kPitch - 1,
                            origin.column + i % kPitch - 1,
                            H,
                            W,
                            padding);
    }
    __device__ float weight(int tap, int plane, int channel) const {
        const bool valid = tap < kTaps && plane < 3 && channel < N;
        return valid ? w[(3 * tap + plane) * padded(N) + channel] : 0.0f;
    }
    __device__ float bias(int channel) const {
        return channel < N ? b[channel] : 0.0f;
    }
};

// Rectifies and stores eight channels from `channel` on, if pixel (row, column) has them.
template <class T>
__device__ __forceinline__ void store_pixel(const Convolution& job,
                                            int row,
                                            int column,
                                            int channel,
                                            float (&z)[kLanes],
                                            T* __restrict__ y,
                                            uint8_t* __restrict__ bits) {
    if (row >= job.H || column >= job.W || channel >= padded(job.N)) {
        return;
    }
    const size_t pixel = static_cast<size_t>(row) * job.W + column;
    const size_t at = (pixel * padded(job.N) + channel) / kLanes;
    const unsigned positive = store_rectified(y + at * kLanes, z);
    if (bits != nullptr) {
        bits[at] = static_cast<uint8_t>(positive);
    }
}

// ---- float: plain multiply-adds -----------------------------------------------------------------

constexpr int kStrip = 8;  // pixels of a thread

// Sums of one strip and eight channels; `image` and `weights` are those of this thread.
__device__ __forceinline__ void convolve_strip(const float* __restrict__ image,
                                               const float* __restrict__ weights,
                                               float (&z)[kStrip][kLanes]) {
#pragma unroll 1
    for (int line = 0; line < 9; ++line) {
        const int plane = line / 3, tap_row = line % 3;
        float pixels[kStrip + 2];
#pragma unroll
        for (int i = 0; i < kStrip + 2; ++i) {
            pixels[i] = image[(plane * (kRows<float> + 2) + tap_row) * kPitch + i];
        }
#pragma unroll
        for (int tap_column = 0; tap_column < 3; ++tap_column) {
            float w[kLanes];
            load_lanes(weights + (3 * (3 * tap_row + tap_column) + plane) * kChunk, w);
#pragma unroll
            for (int i = 0; i < kStrip * kLanes; ++i) {
                z[i / kLanes][i % kLanes] += w[i % kLanes] * pixels[i / kLanes + tap_column];
            }
        }
    }
}

__device__ __forceinline__ void convolve_tile(const Convolution& job,
                                              TileOrigin origin,
                                              float* __restrict__ y,
                                              uint8_t* __restrict__ bits) {
    constexpr int kTile = (kRows<float> + 2) * kPitch;
    SHARED(float, image, 3 * kTile);
    SHARED(float, weights, 3 * kTaps * kChunk);
    // 1. the tile of the image with its border, and the weights of these channels
    for (int i = threadIdx.x; i < 3 * kTile; i += kThreads) {
        image[i] = job.pixel(origin, i % kTile, i / kTile);
    }
    for (int i = threadIdx.x; i < 3 * kTaps * kChunk; i += kThreads) {
        const int tap = i / kChunk / 3, plane = i / kChunk % 3;
        weights[i] = job.weight(tap, plane, blockIdx.y * kChunk + i % kChunk);
    }
    __syncthreads();

    // 2. one strip of pixels x eight channels
    const int lanes = threadIdx.x % (kChunk / kLanes), strip = threadIdx.x / (kChunk / kLanes);
    const int row = strip / (kColumns / kStrip), column = strip % (kColumns / kStrip) * kStrip;
    const int channel = blockIdx.y * kChunk + lanes * kLanes;
    float z[kStrip][kLanes];
#pragma unroll
    for (int i = 0; i < kStrip * kLanes; ++i) {
        z[i / kLanes][i % kLanes] = job.bias(channel + i % kLanes);
    }
    convolve_strip(image + row * kPitch + column, weights + lanes * kLanes, z);
#pragma unroll
    for (int i = 0; i < kStrip; ++i) {
        store_pixel(job, origin.row + row, origin.column + column + i, channel, z[i], y, bits);
    }
}

// ---- half: products of 16 pixels x 16 = two taps of eight x 8 channels --------------------------

constexpr int kSteps = (kTaps + 1) / 2;  // the tenth tap has zero weights
constexpr int kProducts = 4;             // of eight channels each, for one warp
constexpr int kWarpsAcross = kChunk / (8 * kProducts);
constexpr int kFragments = kWarpsAcross * kSteps * kProducts * 32;

// One pixel as eight halves: the three planes, a zero, and the same for the remainders of rounding.
// The products of both with the same weights add up to that of the unrounded pixel.
__device__ __forceinline__ uint4 split_pixel(const Convolution& job, TileOrigin origin, int i) {
    uint4 packed = make_uint4(0, 0, 0, 0);
    half* halves = reinterpret_cast<half*>(&packed);
#pragma unroll
    for (int plane = 0; plane < 3; ++plane) {
        const float value = job.pixel(origin, i, plane);
        halves[plane] = __float2half(value);
        halves[4 + plane] = __float2half(value - __half2float(halves[plane]));
    }
    return packed;
}

// The weights as the registers of the products' second operand: fragment i is of thread (g, t) of a
// warp, its weights for halves 2 t and 2 t + 1 of two taps. Column c of product j stands for
// channel 8 (c / 2) + 2 j + c % 2 of the warp's 32, so that thread t ends with channels 8 t .. 8 t
// + 7.
__device__ __forceinline__ uint2 weight_fragment(const Convolution& job, int i) {
    const int g = i % 32 / 4, t = i % 4, j = i / 32 % kProducts;
    const int step = i / (32 * kProducts) % kSteps, across = i / (32 * kProducts * kSteps);
    const int channel = blockIdx.y * kChunk + across * 32 + 8 * (g / 2) + 2 * j + g % 2;
    uint2 packed;
    half* halves = reinterpret_cast<half*>(&packed);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
        const int plane = (2 * t + k % 2) % 4;
        halves[k] = __float2half(job.weight(2 * step + k / 2, plane, channel));
    }
    return packed;
}

// Sums of sixteen pixels of a row and the warp's channels; `image` is the first of them.
__device__ __forceinline__ void convolve_run(const uint4* image,
                                             const uint32_t (&w)[kSteps][kProducts][2],
                                             float (&z)[kProducts][4]) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
        // four matrices: pixels 0-7 and 8-15 of one tap, the same of the next
        const int next = 2 * step + lane / 16, tap = next < kTaps ? next : kTaps - 1;
        uint32_t pixels[4];
        ldmatrix_x4(pixels, image + tap / 3 * kPitch + tap % 3 + lane % 16);
#pragma unroll
        for (int j = 0; j < kProducts; ++j) {
            mma_m16n8k16(z[j], pixels, w[step][j]);
        }
    }
}

__device__ __forceinline__ void convolve_tile(const Convolution& job,
                                              TileOrigin origin,
                                              half* __restrict__ y,
                                              uint8_t* __restrict__ bits) {
    constexpr int kTile = (kRows<half> + 2) * kPitch;
    SHARED(uint4, image, kTile);
    SHARED(uint2, fragments, kFragments);
    // 1. the tile of the image with its border, and the weights of these channels
    for (int i = threadIdx.x; i < kTile; i += kThreads) {
        image[i] = split_pixel(job, origin, i);
    }
    for (int i = threadIdx.x; i < kFragments; i += kThreads) {
        fragments[i] = weight_fragment(job, i);
    }
    __syncthreads();

    // 2. this warp's weights and biases
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int across = warp % kWarpsAcross;
    const int channel = blockIdx.y * kChunk + across * 32 + 8 * t;  // first of this thread's eight
    uint32_t w[kSteps][kProducts][2];
    float bias[kLanes];
#pragma unroll
    for (int i = 0; i < kSteps * kProducts; ++i) {
        const uint2 packed = fragments[(across * kSteps * kProducts + i) * 32 + lane];
        w[i / kProducts][i % kProducts][0] = packed.x;
        w[i / kProducts][i % kProducts][1] = packed.y;
    }
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        bias[i] = job.bias(channel + i);
    }

    // 3. sixteen pixels of a row at a time
    constexpr int kRunsOfRow = kColumns / 16, kWarpsDown = kThreads / 32 / kWarpsAcross;
    for (int run = warp / kWarpsAcross; run < kRows<half> * kRunsOfRow; run += kWarpsDown) {
        const int row = run / kRunsOfRow, column = run % kRunsOfRow * 16;
        float z[kProducts][4];
#pragma unroll
        for (int i = 0; i < kProducts * 4; ++i) {
            z[i / 4][i % 4] = bias[i / 4 * 2 + i % 2];
        }
        convolve_run(image + row * kPitch + column, w, z);
#pragma unroll
        for (int below = 0; below < 2; ++below) {  // pixels g and g + 8 of the run
            float own[kLanes];
#pragma unroll
            for (int i = 0; i < kLanes; ++i) {
                own[i] = z[i / 2][2 * below + i % 2];
            }
            store_pixel(job,
                        origin.row + row,
                        origin.column + column + 8 * below + g,
                        channel,
                        own,
                        y,
                        bits);
        }
    }
}

template <class T>
__global__ void __launch_bounds__(kThreads)
    image_conv3x3_relu_kernel(Convolution job, T* __restrict__ y, uint8_t* __restrict__ bits) {
    convolve_tile(job, TileOrigin(job.W, kRows<T>, kColumns), y, bits);
}

}  // namespace

template <class T>
void image_conv3x3_relu(const float* x,
                        const float* w,
                        const float* b,
                        int N,
                        int H,
                        int W,
                        Padding padding,
                        T* y,
                        uint8_t* bits,
                        cudaStream_t stream) {
    const Convolution job = {x, w, b, N, H, W, padding};
    const unsigned chunks = (N - 1) / kChunk + 1;
    LAUNCH(image_conv3x3_relu_kernel<T>,
           (tiles(H, W, kRows<T>, kColumns), chunks),
           (kThreads),
           0,
           stream,
           job,
           y,
           bits);
    CHECK_LAUNCH("image_conv3x3_relu");
}

template void image_conv3x3_relu(const float*,
                                 const float*,
                                 const float*,
                                 int,
                                 int,
                                 int,
                                 Padding,
                                 float*,
                                 uint8_t*,
                                 cudaStream_t);
template void image_conv3x3_relu(const float*,
                                 const float*,
                                 const float*,
                                 int,
                                 int,
                                 int,
                                 Padding,
                                 half*,
                                 uint8_t*,
                                 cudaStream_t);

}  // namespace pynst
