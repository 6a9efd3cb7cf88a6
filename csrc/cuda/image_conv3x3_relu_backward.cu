// image_conv3x3_relu_backward.cu: the gradient of the first convolution with respect to the image.
//
//   dx = w^T * (dy where y > 0 else 0) / scale
//
//   in      dy (H, W, padded(N)) times the loss scale, the bits of the forward pass, w (27,
//           padded(N)) float32, row 3 * tap + plane; the loss scale or null for 1.
//   out     dx (3, H, W) float32, overwritten, no longer scaled.
//   mapping a block makes 10 x 30 pixels of dx from 12 x 32 of dy. Each pixel of dy is multiplied
//           with all 27 weights of its channels at once, so that dy is read once; the 27 partial
//           sums go to shared memory, where each pixel of dx gathers its nine taps.
//           float: a thread sums three pixels, dy in shared memory 16 channels at a time.
//           half: on tensor cores, a warp has 16 pixels x 32 sums. A thread reads eight channels of
//           a pixel; these are its operands of two products, because the channels of w are dealt
//           to the threads in the same way.
//   bounds  any N, H, W >= 1. Where the padding repeats an edge pixel, the gradient of each copy is
//           added to that pixel. Pixels of dy outside the image count as zero.
//   order   channels (half: in the order of the products, float32 sums of halves, w rounded to
//           half), then taps.
//   cost    27 N multiply-adds per pixel, 28 % more for the halo, which comes from the L2 cache.
//           512 x 512, N = 64, half: reads 33.6 MB of dy and 2.1 MB of bits, writes 3.1 MB
//           (estimate for an H200 at 4.3 TB/s: 9 us); 1.4 GFLOP of padded products. float: 1.1
//           GFLOP (19 us at 60 TFLOP/s).

#include "inner/lanes.cuh"
#include "inner/ptx.cuh"
#include "inner/tiles.cuh"

namespace pynst {
namespace {

constexpr int kSums = 27;
constexpr int kRows = 12, kColumns = 32;  // of dy; dx has one pixel less at each side
constexpr int kPixels = kRows * kColumns;
constexpr int kPitch = kPixels + 4;  // keeps the stores of a warp's products apart in the banks

template <class T>
constexpr int kThreads = 256;
template <>
constexpr int kThreads<float> = 128;

// The arrays of one launch.
template <class T>
struct Gradient {
    const T* __restrict__ dy;
    const uint8_t* __restrict__ bits;
    const float* __restrict__ w;
    int N, H, W;
};

// The index in the image of pixel `pixel` of the tile of dy; negative if it lies outside.
template <class T>
__device__ __forceinline__ int number_of(const Gradient<T>& job, TileOrigin origin, int pixel) {
    const int row = origin.row - 1 + pixel / kColumns,
              column = origin.column - 1 + pixel % kColumns;
    const bool inside = row >= 0 && row < job.H && column >= 0 && column < job.W;
    return inside ? row * job.W + column : -1;
}

// ---- float: plain multiply-adds -----------------------------------------------------------------

constexpr int kSlab = 16;            // channels in shared memory at a time
constexpr int kStage = kPixels + 2;  // pitch of a channel of dy
constexpr int kWeights = 28;         // pitch of a channel of w, a multiple of four

// 1. a slab of dy where the bits allow it, channel by channel, and its weights
__device__ __forceinline__ void stage_slab(
    const Gradient<float>& job, TileOrigin origin, int slab, float* stage, float* weights) {
    constexpr int kGroups = kSlab / kLanes;
    for (int i = threadIdx.x; i < kPixels * kGroups; i += kThreads<float>) {
        const int pixel = i / kGroups, group = i % kGroups;
        const int number = number_of(job, origin, pixel), groups = padded(job.N) / kLanes;
        float values[kLanes] = {};
        unsigned bits = 0;
        if (number >= 0 && slab / kLanes + group < groups) {
            const size_t at = static_cast<size_t>(number) * groups + slab / kLanes + group;
            load_lanes(job.dy + at * kLanes, values);
            bits = job.bits[at];
        }
#pragma unroll
        for (int lane = 0; lane < kLanes; ++lane) {
            stage[(group * kLanes + lane) * kStage + pixel] =
                bits >> lane & 1 ? values[lane] : 0.0f;
        }
    }
    for (int i = threadIdx.x; i < kSlab * kWeights; i += kThreads<float>) {
        const int channel = slab + i / kWeights, sum = i % kWeights;
        const bool valid = sum < kSums && channel < job.N;
        weights[i] = valid ? job.w[sum * padded(job.N) + channel] : 0.0f;
    }
}

// sums[27][kPitch]: for each pixel of the tile its products with all weights, summed over channels.
__device__ __forceinline__ void partial_sums(const Gradient<float>& job,
                                             TileOrigin origin,
                                             float* sums) {
    constexpr int kOwn = kPixels / kThreads<float>;
    float* const stage =
        sums;  // the same memory holds dy first, and the sums once they are complete
    float* const weights = sums + (kSlab * kStage + 3) / 4 * 4;
    static_assert((kSlab * kStage + 3) / 4 * 4 + kSlab * kWeights <= kSums * kPitch,
                  "one after the other");
    float own[kOwn][kWeights] = {};
    for (int slab = 0; slab < job.N; slab += kSlab) {
        stage_slab(job, origin, slab, stage, weights);
        __syncthreads();
        // 2. three pixels of each thread
#pragma unroll 1
        for (int channel = 0; channel < kSlab; ++channel) {
            float dy[kOwn];
#pragma unroll
            for (int i = 0; i < kOwn; ++i) {
                dy[i] = stage[channel * kStage + i * kThreads<float> + threadIdx.x];
            }
#pragma unroll
            for (int part = 0; part < kWeights; part += 4) {
                const float4 w =
                    *reinterpret_cast<const float4*>(weights + channel * kWeights + part);
#pragma unroll
                for (int i = 0; i < kOwn; ++i) {
                    own[i][part] += w.x * dy[i];
                    own[i][part + 1] += w.y * dy[i];
                    own[i][part + 2] += w.z * dy[i];
                    own[i][part + 3] += w.w * dy[i];
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
#pragma unroll
        for (int sum = 0; sum < kSums; ++sum) {
            sums[sum * kPitch + i * kThreads<float> + threadIdx.x] = own[i][sum];
        }
    }
}

// ---- half: products of 16 pixels x 16 channels x 8 sums -----------------------------------------

constexpr int kChunk = 32;                                   // channels that a warp reads at once
constexpr int kTilesOfSums = 4;                              // 4 x 8 sums, the last five unused
constexpr int kRuns = kPixels / 16 / (kThreads<half> / 32);  // times 16 pixels, for each warp
constexpr int kFragments = 2 * kTilesOfSums * 32;            // of one chunk: two products deep

// Eight halves with zeros where the bits say so.
__device__ __forceinline__ uint4 gated(uint4 values, unsigned bits) {
    const auto mask = [bits](int word) {
        return (bits >> (2 * word) & 1 ? 0x0000ffffu : 0u) |
               (bits >> (2 * word + 1) & 1 ? 0xffff0000u : 0u);
    };
    return make_uint4(
        values.x & mask(0), values.y & mask(1), values.z & mask(2), values.w & mask(3));
}

// The weights of a chunk in the order of the registers of the products' second operand. Thread (g,
// t) of a warp holds sum 8 tile + g. In step s of the two it holds channels 8 t + 4 s .. 8 t + 4 s
// + 3, which are words 2 s and 2 s + 1 of the eight halves of dy that the thread reads.
__device__ __forceinline__ void pack_fragments(const Gradient<half>& job,
                                               int chunk,
                                               uint2* fragments) {
    for (int i = threadIdx.x; i < kFragments; i += kThreads<half>) {
        const int g = i % 32 / 4, t = i % 4, tile = i / 32 % kTilesOfSums;
        const int step = i / (32 * kTilesOfSums), sum = 8 * tile + g;
        const int channel = chunk + 8 * t + 4 * step, channels = padded(job.N);
        // Four channels in one access; those beyond N hold zeros.
        const float4 w = sum < kSums && channel < channels
                             ? *reinterpret_cast<const float4*>(job.w + sum * channels + channel)
                             : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        uint2 packed;
        half* halves = reinterpret_cast<half*>(&packed);
        halves[0] = __float2half(w.x);
        halves[1] = __float2half(w.y);
        halves[2] = __float2half(w.z);
        halves[3] = __float2half(w.w);
        fragments[i] = packed;
    }
}

__device__ __forceinline__ void partial_sums(const Gradient<half>& job,
                                             TileOrigin origin,
                                             float* sums) {
    SHARED(uint2, fragments, kFragments);
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const int groups = padded(job.N) / kLanes;
    int numbers[2 * kRuns];  // pixels g and g + 8 of each run
#pragma unroll
    for (int i = 0; i < 2 * kRuns; ++i) {
        numbers[i] = number_of(job, origin, (warp * kRuns + i / 2) * 16 + i % 2 * 8 + g);
    }
    float own[kRuns][kTilesOfSums][4] = {};
    for (int chunk = 0; chunk < job.N; chunk += kChunk) {
        // 1. eight channels of two pixels for each product
        const int group = chunk / kLanes + t;
        uint4 dy[kRuns][2];
#pragma unroll
        for (int i = 0; i < 2 * kRuns; ++i) {
            dy[i / 2][i % 2] = make_uint4(0, 0, 0, 0);
            if (numbers[i] >= 0 && group < groups) {
                const size_t at = static_cast<size_t>(numbers[i]) * groups + group;
                const uint4 values = *reinterpret_cast<const uint4*>(job.dy + at * kLanes);
                dy[i / 2][i % 2] = gated(values, job.bits[at]);
            }
        }
        pack_fragments(job, chunk, fragments);
        __syncthreads();
        // 2. their products with the weights
#pragma unroll
        for (int step = 0; step < 2; ++step) {
#pragma unroll
            for (int tile = 0; tile < kTilesOfSums; ++tile) {
                const uint2 packed = fragments[(step * kTilesOfSums + tile) * 32 + lane];
                const uint32_t w[2] = {packed.x, packed.y};
#pragma unroll
                for (int i = 0; i < kRuns; ++i) {
                    const uint4 upper = dy[i][0], lower = dy[i][1];
                    const uint32_t pixels[4] = {step == 0 ? upper.x : upper.z,
                                                step == 0 ? lower.x : lower.z,
                                                step == 0 ? upper.y : upper.w,
                                                step == 0 ? lower.y : lower.w};
                    mma_m16n8k16(own[i][tile], pixels, w);
                }
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < kRuns * kTilesOfSums * 4; ++i) {
        const int run = i / (4 * kTilesOfSums), tile = i / 4 % kTilesOfSums;
        const int sum = 8 * tile + 2 * t + i % 2;
        if (sum < kSums) {
            sums[sum * kPitch + (warp * kRuns + run) * 16 + i % 4 / 2 * 8 + g] =
                own[run][tile][i % 4];
        }
    }
}

// ---- both ---------------------------------------------------------------------------------------

// Adds the gradients of the copies of an edge pixel (row, column) that stand around the image.
template <class T>
__device__ float copies_gathered(const Gradient<T>& job,
                                 const float* __restrict__ sums,
                                 TileOrigin origin,
                                 int row,
                                 int column) {
    float total = 0.0f;
    for (int v = row == 0 ? -1 : row; v <= (row == job.H - 1 ? job.H : row); ++v) {
        for (int u = column == 0 ? -1 : column; u <= (column == job.W - 1 ? job.W : column); ++u) {
            for (int tap = 0; tap < 9 && (v != row || u != column); ++tap) {
                const int y = v + 1 - tap / 3, x = u + 1 - tap % 3;
                if (y >= 0 && y < job.H && x >= 0 && x < job.W) {
                    const int pixel = (y - origin.row + 1) * kColumns + x - origin.column + 1;
                    total += sums[3 * tap * kPitch + pixel];
                }
            }
        }
    }
    return total;
}

template <class T>
__global__ void __launch_bounds__(kThreads<T>) image_conv3x3_relu_backward_kernel(
    Gradient<T> job, Padding padding, const GradientScale* scale, float* __restrict__ dx) {
    SHARED(float, sums, kSums* kPitch);
    const TileOrigin origin(job.W, kRows - 2, kColumns - 2);
    partial_sums(job, origin, sums);
    __syncthreads();

    // 3. gather the nine taps of each pixel; the sums of pixels outside the image are zero
    const float unscale = 1.0f / gradient_scale_of(scale);
    for (int i = threadIdx.x; i < 3 * (kRows - 2) * kColumns; i += kThreads<T>) {
        const int column = i % kColumns, row = i / kColumns % (kRows - 2);
        const int plane = i / (kColumns * (kRows - 2));
        const int x = origin.column + column, y = origin.row + row;
        if (column >= kColumns - 2 || x >= job.W || y >= job.H) {
            continue;
        }
        const float* const of_plane = sums + plane * kPitch;
        float total = 0.0f;
#pragma unroll
        for (int tap = 0; tap < 9; ++tap) {
            const int pixel = (row + 2 - tap / 3) * kColumns + column + 2 - tap % 3;
            total += of_plane[3 * tap * kPitch + pixel];
        }
        if (padding == Padding::replicate &&
            (y == 0 || y == job.H - 1 || x == 0 || x == job.W - 1)) {
            total += copies_gathered(job, of_plane, origin, y, x);
        }
        dx[(static_cast<size_t>(plane) * job.H + y) * job.W + x] = unscale * total;
    }
}

}  // namespace

template <class T>
void image_conv3x3_relu_backward(const T* dy,
                                 const uint8_t* bits,
                                 const float* w,
                                 int N,
                                 int H,
                                 int W,
                                 Padding padding,
                                 const GradientScale* scale,
                                 float* dx,
                                 cudaStream_t stream) {
    const Gradient<T> job = {dy, bits, w, N, H, W};
    LAUNCH((image_conv3x3_relu_backward_kernel<T>),
           (tiles(H, W, kRows - 2, kColumns - 2)),
           (kThreads<T>),
           0,
           stream,
           job,
           padding,
           scale,
           dx);
    CHECK_LAUNCH("image_conv3x3_relu_backward");
}

template void image_conv3x3_relu_backward(const float*,
                                          const uint8_t*,
                                          const float*,
                                          int,
                                          int,
                                          int,
                                          Padding,
                                          const GradientScale*,
                                          float*,
                                          cudaStream_t);
template void image_conv3x3_relu_backward(const half*,
                                          const uint8_t*,
                                          const float*,
                                          int,
                                          int,
                                          int,
                                          Padding,
                                          const GradientScale*,
                                          float*,
                                          cudaStream_t);

}  // namespace pynst
