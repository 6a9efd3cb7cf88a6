// conv3x3_relu.cu: 3x3 convolution with its ReLU.
//
// Reading order. This file and its three siblings (conv3x3_relu_pool.cu, conv3x3_relu_backward.cu,
// conv3x3_relu_pool_backward.cu) only say what goes in and what comes out. Read on in inner/:
//   conv3x3_run.cuh     the tiles, and the launch of the kernel
//   conv3x3_layer.cuh   the sizes of one convolution, and how its sums are shared among blocks
//   conv3x3_source.cuh  what a kernel reads: features, or gradients behind ReLU and pooling
//   conv3x3_result.cuh  what it does with its sums: bias, ReLU, pooling, the store
//   conv3x3_simt.cuh    the kernel in plain float32: the one to read first
//   conv3x3_tensor.cuh  the kernel on tensor cores, made of conv3x3_tile.cuh (how input and weights
//                       reach shared memory) and conv3x3_walk.cuh (what a warp multiplies)
//
//   y = max(0, w * x + b)
//
//   in      x (H, W, padded(C)), w (9, padded(N), padded(C)), b (padded(N)) float32.
//   out     y (H, W, padded(N)), and one bit per ReLU unless bits is null.
//   mapping conv3x3_tensor.cuh for halves and for floats that are split into two halves,
//           conv3x3_simt.cuh for plain floats; the caller chooses the division among blocks.
//   bounds  any C, N, H, W >= 1.
//   order   fixed by the sizes and the division; see the two kernels. Where pixels are few, the
//           input channels are cut into parts, whose sums are added in order.
//   cost    9 C N multiply-adds per pixel; x is read once per 64 or 128 output channels.

#include "inner/conv3x3_run.cuh"

namespace pynst {

using namespace conv3x3;

template <class T, class Weights>
void conv3x3_relu(const T* x,
                  Weights w,
                  const float* b,
                  int C,
                  int N,
                  int H,
                  int W,
                  Division division,
                  T* y,
                  uint8_t* bits,
                  void* scratch,
                  cudaStream_t stream) {
    const Rectified<T> result = {b, y, bits};
    run_conv3x3(Features<T>{x}, w, {C, N, H, W, division, "conv3x3_relu"}, result, scratch, stream);
    CHECK_LAUNCH("conv3x3_relu");
}

ConvTileSize conv3x3_tile_size(ConvTile tile) {
    switch (tile) {
        case ConvTile::large:
            return LargeTile::kSize;
        case ConvTile::narrow:
            return NarrowTile::kSize;
        case ConvTile::flat:
            return FlatTile::kSize;
        case ConvTile::split:
            return SplitTile::kSize;
        default:
            return SimtTile::kSize;
    }
}

size_t conv3x3_scratch(int C, int N, int H, int W, Division division) {
    const Layer layer = make_layer(C, N, H, W, division, nullptr);
    const ConvTileSize size = conv3x3_tile_size(division.tile);
    const dim3 tiles = tiles_of(layer.N, H, W, size.height, size.channels);
    const size_t of_tile = sizeof(float) * kTileWidth * size.height * size.channels;
    const bool needed = layer.parts > 1 && !layer.clustered;
    return needed ? of_tile * layer.parts * tiles.x * tiles.y * tiles.z : 0;
}

int conv3x3_most_clustered() {
    // A kernel that was compiled for older devices, and only now for this one, has no clusters in
    // it. A device may have too few multiprocessors beside each other for the largest ones.
    const auto kernel =
        conv3x3_tensor_kernel<LargeTile, Features<half>, const half*, Rectified<half>>;
    constexpr int kBytes = InCluster<LargeTile>::kBytes;
    cudaFuncAttributes compiled = {};
    const cudaLaunchConfig_t config = {
        dim3(1, 1, kMostParts), dim3(LargeTile::kThreads), kBytes, nullptr, nullptr, 0};
    int most = 1;
    const bool able =
        cudaFuncGetAttributes(&compiled, kernel) == cudaSuccess && compiled.ptxVersion >= 90 &&
        cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes) ==
            cudaSuccess &&
        cudaOccupancyMaxPotentialClusterSize(&most, kernel, &config) == cudaSuccess;
    cudaGetLastError();  // without clusters everything works, too
    return able ? std::min(most, kMostParts) : 1;
}

#define INSTANTIATE(T, Weights)              \
    template void conv3x3_relu(const T*,     \
                               Weights,      \
                               const float*, \
                               int,          \
                               int,          \
                               int,          \
                               int,          \
                               Division,     \
                               T*,           \
                               uint8_t*,     \
                               void*,        \
                               cudaStream_t)
INSTANTIATE(half, const half*);
INSTANTIATE(float, SplitWeights);
INSTANTIATE(float, const float*);

}  // namespace pynst
