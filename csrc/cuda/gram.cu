// gram.cu: Gram matrix of one layer's feature maps.
//
//   G_ij = sum_p m_p F_ip F_jp / sum_p m_p      Gatys et al. 2016, Eq. 3, divided by the number of
//                                               pixels; with m the guided form of 2017, m = T^2
//
//   in      F (M, padded(N)) float32 or half. N = channels, M = height * width. m (M) in [0, 1], or
//           null for ones, and its sum.
//   out     G (N, N) float64, exactly symmetric, overwritten.
//   mapping 1. a block per tile of the upper triangle and split of the pixels (gram_partial.cuh).
//           2. a block per eight rows of G adds up the splits (gram_sums.cuh). Where the distance to
//           another matrix is wanted at once, style_difference.cu does that instead.
//           With m, the features times sqrt(m) are written to scratch first, an item of eight
//           channels per thread, because the copies of step 1 do not pass through registers.
//   bounds  any N, M >= 1; a tile reads zeros outside F.
//   order   float32 over 128 pixels, then those sums in float32 along a split, then the splits in
//           float64: runs of splits, then the runs. The order depends on N and M alone. With m,
//           halves are rounded once more, as sqrt(m) F.
//   cost    N (N + tile) M / 2 multiply-adds, three times as many for float32 on tensor cores; F is
//           read once per tile of channels, partial sums of a few megabytes are written and read
//           twice;
//           with m, F is read and written once more.

#include "inner/gram_partial.cuh"
#include "inner/lanes.cuh"

namespace pynst {
namespace {

// Chosen by the roofline of an H200, not yet by measurement, as are the shapes below.
constexpr int kProcessors = 132;  // multiprocessors that get an even load
constexpr int kLeastPixels =
    256;  // of a split; with fewer, writing and reading its sums costs more
constexpr int kMostPixels = 8192;  // of a split, which makes a chain of 64 folds

using Half64 = GramShape<64, 32, 32, 64, 5, true>;
using Half128 = GramShape<128, 64, 32, 32, 6, true>;
using Half144 = GramShape<144, 48, 48, 32, 6, true>;  // the built-in network's 134 channels
using HalfMany = GramShape<128, 64, 32, 32, 3, false>;
using Float64 = GramShape<64, 32, 32, 16, 2, true>;
using FloatMany = GramShape<64, 32, 32, 16, 2, false>;

// Calls back with the shape for N channels, one that holds all of G if there is one.
template <class Visit>
auto with_half_shape(int N, Visit visit) {
    const int channels = padded(N);
    if (channels <= 64) {
        return visit(Half64());
    }
    if (channels <= 128) {
        return visit(Half128());
    }
    return channels <= 144 ? visit(Half144()) : visit(HalfMany());
}

template <class Visit>
auto with_float_shape(int N, Visit visit) {
    return N <= Float64::kTile ? visit(Float64()) : visit(FloatMany());
}

// Depends on N and M alone, so that the order of the sums does.
template <class Shape>
GramPartition partition_of(int N, int M) {
    GramPartition p;
    p.tile = Shape::kTile;
    p.across = ceil_div(N, p.tile);
    p.tiles = p.across * (p.across + 1) / 2;
    const int least = ceil_div(M, kMostPixels), most = ceil_div(M, kLeastPixels);
    const int wanted = Shape::kBlocks * kProcessors / p.tiles;
    const int splits = wanted < least ? least : wanted > most ? most : wanted;
    p.pixels = ceil_div(ceil_div(M, splits), kFoldPixels) * kFoldPixels;
    p.splits = ceil_div(M, p.pixels);
    return p;
}

__global__ void __launch_bounds__(kGramThreads) gram_rows_kernel(GramSums sums, int N) {
    set_gram_rows(sums, N, blockIdx.x * kGramRows);
}

constexpr int kWeighThreads = 256;

// to = sqrt(m) F for `items` items of eight channels. m is at most one, so that halves stay in
// their range.
template <class T>
__global__ void __launch_bounds__(kWeighThreads) weigh_pixels_kernel(const T* __restrict__ F,
                                                                     const float* __restrict__ m,
                                                                     int items_of_pixel,
                                                                     size_t items,
                                                                     T* __restrict__ to) {
    const size_t item = static_cast<size_t>(blockIdx.x) * kWeighThreads + threadIdx.x;
    if (item >= items) {
        return;
    }
    float values[kLanes];
    load_lanes(F + item * kLanes, values);
    const float root = sqrtf(m[item / items_of_pixel]);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
        values[i] *= root;
    }
    store_lanes(to + item * kLanes, values);
}

template <class T>
void weigh_pixels(const T* F, const float* m, int N, int M, T* to, cudaStream_t stream) {
    const int items_of_pixel = padded(N) / kLanes;
    const size_t items = static_cast<size_t>(M) * items_of_pixel;
    const int blocks = static_cast<int>((items - 1) / kWeighThreads + 1);
    LAUNCH((weigh_pixels_kernel<T>),
           (blocks),
           (kWeighThreads),
           0,
           stream,
           F,
           m,
           items_of_pixel,
           items,
           to);
    CHECK_LAUNCH("gram");
}

template <class T, class Shape>
void tensor_partials(const T* F,
                     int N,
                     int M,
                     const GramPartition& partition,
                     float* partials,
                     cudaStream_t stream) {
    constexpr auto kernel = gram_tensor_kernel<T, Shape>;
    constexpr int kBytes = Shape::template kSharedBytes<T>;
    static_assert(kBytes <= 64 * 1024, "what a block of sm_75 has");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes),
          "gram");
    const int blocks = partition.tiles * partition.splits;
    LAUNCH(kernel, (blocks), (Shape::kThreads), kBytes, stream, F, N, M, partition, partials);
    CHECK_LAUNCH("gram");
}

GramPartition make_partials(
    const half* F, int N, int M, Products, float* partials, cudaStream_t stream) {
    return with_half_shape(N, [&](auto shape) {
        using Shape = decltype(shape);
        const GramPartition partition = partition_of<Shape>(N, M);
        tensor_partials<half, Shape>(F, N, M, partition, partials, stream);
        return partition;
    });
}

GramPartition make_partials(
    const float* F, int N, int M, Products products, float* partials, cudaStream_t stream) {
    return with_float_shape(N, [&](auto shape) {
        using Shape = decltype(shape);
        static_assert(Shape::kTile == kSimtTile, "one partition for both kinds of products");
        const GramPartition partition = partition_of<Shape>(N, M);
        if (products == Products::tensor) {
            tensor_partials<float, Shape>(F, N, M, partition, partials, stream);
        } else {
            const int blocks = partition.tiles * partition.splits;
            LAUNCH(gram_simt_kernel,
                   (blocks),
                   (kSimtThreads),
                   0,
                   stream,
                   F,
                   N,
                   M,
                   partition,
                   partials);
            CHECK_LAUNCH("gram");
        }
        return partition;
    });
}

}  // namespace

size_t gram_scratch(int N, int M) {
    const auto bytes = [&](auto shape) {
        const GramPartition partition = partition_of<decltype(shape)>(N, M);
        return partition.at(partition.splits, 0) * sizeof(float);
    };
    const size_t halves = with_half_shape(N, bytes), floats = with_float_shape(N, bytes);
    return halves > floats ? halves : floats;
}

// The weighted features lie behind the partial sums.
size_t gram_weighted_scratch(int N, int M) {
    const size_t sums = gram_scratch(N, M) + kScratchAlignment - 1;
    return sums / kScratchAlignment * kScratchAlignment +
           static_cast<size_t>(M) * padded(N) * sizeof(float);
}

template <class T>
GramSums gram_partials(const T* F,
                       int N,
                       int M,
                       PixelWeights m,
                       Products products,
                       double* G,
                       void* scratch,
                       cudaStream_t stream) {
    float* partials = static_cast<float*>(scratch);
    if (m.values != nullptr) {
        const size_t behind =
            gram_weighted_scratch(N, M) - static_cast<size_t>(M) * padded(N) * sizeof(float);
        T* weighted = reinterpret_cast<T*>(static_cast<char*>(scratch) + behind);
        weigh_pixels(F, m.values, N, M, weighted, stream);
        F = weighted;
    }
    return {partials, make_partials(F, N, M, products, partials, stream), m.total, G};
}

template GramSums gram_partials<half>(
    const half*, int, int, PixelWeights, Products, double*, void*, cudaStream_t);
template GramSums gram_partials<float>(
    const float*, int, int, PixelWeights, Products, double*, void*, cudaStream_t);

template <class T>
void gram(const T* F,
          int N,
          int M,
          PixelWeights m,
          Products products,
          double* G,
          void* scratch,
          cudaStream_t stream) {
    const GramSums sums = gram_partials(F, N, M, m, products, G, scratch, stream);
    LAUNCH(gram_rows_kernel, (padded(N) / kGramRows), (kGramThreads), 0, stream, sums, N);
    CHECK_LAUNCH("gram");
}

template void gram<half>(
    const half*, int, int, PixelWeights, Products, double*, void*, cudaStream_t);
template void gram<float>(
    const float*, int, int, PixelWeights, Products, double*, void*, cudaStream_t);

}  // namespace pynst
