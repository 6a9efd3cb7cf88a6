// style_loss.cu: squared distance of two Gram matrices, and its gradient in the features.
//
//   loss = k sum_ij (s_i s_j (G - A)_ij)^2,  dF_ip += (4 k / sum m) m_p (D F)_ip,
//   D_ij = s_i^2 s_j^2 (G - A)_ij  Gatys et al. 2016, Eq. 4 and 6 up to the constants in k
//
//   in      F (M, padded(N)) float32 or half; D, its factors and the rows' contributions to the loss
//           as from style_difference.cu; k; m (M,) or null for ones; the loss scale by which dF is
//           multiplied, or null for 1.
//   out     loss, overwritten; dF, added to; the largest magnitude of dF, noted in the loss scale.
//   mapping a block per 128 pixels and up to 144 channels: F D (product_channels.cuh); the first warp
//           also adds the rows' contributions to the loss.
//   bounds  any N, M >= 1; D is padded with zeros to padded(N).
//   order   the loss is summed in float64 over the rows by 32 lanes; each element of F D is a float32
//           chain in the order of the channels, which is folded every 128 channels where F is
//           float32 and the products are split ones.
//   cost    N^2 M multiply-adds, F read, dF read and written: bound by memory up to 128 channels.

#include "inner/product_channels.cuh"

namespace pynst {
namespace {

using Half64 = ProductShape<128, 64, 32, 32, 64, 2, 2, true>;
using Half128 = ProductShape<128, 128, 64, 32, 32, 3, 2, false>;
using Half144 = ProductShape<128, 144, 64, 48, 32, 3, 2, false>;  // the built-in network: 134
using Float64 = ProductShape<128, 64, 32, 32, 16, 2, 1, false>;

template <class Shape, class T>
void launch_product(const T* F,
                    const StyleScratch& scratch,
                    int M,
                    const float* m,
                    const StyleTotal& total,
                    GradientScale* scale,
                    T* dF,
                    cudaStream_t stream) {
    constexpr auto kernel = product_tensor_kernel<T, Shape>;
    static_assert(Shape::kStages * Shape::template kStageHalves<T> * sizeof(half) <= 64 * 1024,
                  "what a block of sm_75 has");
    const int bytes = Shape::template shared_bytes<T>(ceil_div(padded(total.N), Shape::kDepth));
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes),
          "style_loss");
    LAUNCH(kernel,
           (ceil_div(M, Shape::kPixels) * ceil_div(padded(total.N), Shape::kColumns)),
           (Shape::kThreads),
           bytes,
           stream,
           F,
           static_cast<const half*>(scratch.D),
           scratch.factors,
           m,
           M,
           total,
           scale,
           dF);
}

void add_product(const half* F,
                 const StyleScratch& scratch,
                 int M,
                 const float* m,
                 const StyleTotal& total,
                 Products,
                 GradientScale* scale,
                 half* dF,
                 cudaStream_t stream) {
    const int channels = padded(total.N);
    if (channels <= 64) {
        launch_product<Half64>(F, scratch, M, m, total, scale, dF, stream);
    } else if (channels > 128 && channels <= 144) {
        launch_product<Half144>(F, scratch, M, m, total, scale, dF, stream);
    } else {
        launch_product<Half128>(F, scratch, M, m, total, scale, dF, stream);
    }
}

void add_product(const float* F,
                 const StyleScratch& scratch,
                 int M,
                 const float* m,
                 const StyleTotal& total,
                 Products products,
                 GradientScale* scale,
                 float* dF,
                 cudaStream_t stream) {
    if (products == Products::tensor) {
        launch_product<Float64>(F, scratch, M, m, total, scale, dF, stream);
        return;
    }
    LAUNCH(product_simt_kernel,
           (ceil_div(M, kSimtTile) * ceil_div(padded(total.N), kSimtTile)),
           (kSimtThreads),
           0,
           stream,
           F,
           static_cast<const float*>(scratch.D),
           scratch.factors,
           m,
           M,
           total,
           scale,
           dF);
}

}  // namespace

template <class T>
void style_loss(const T* F,
                void* difference,
                int N,
                int M,
                double k,
                const float* m,
                Products products,
                GradientScale* scale,
                T* dF,
                double* loss,
                cudaStream_t stream) {
    const StyleScratch parts(N, difference);
    const StyleTotal total = {parts.losses, N, k, loss};
    add_product(F, parts, M, m, total, products, scale, dF, stream);
    CHECK_LAUNCH("style_loss");
}

template void style_loss<half>(const half*,
                               void*,
                               int,
                               int,
                               double,
                               const float*,
                               Products,
                               GradientScale*,
                               half*,
                               double*,
                               cudaStream_t);
template void style_loss<float>(const float*,
                                void*,
                                int,
                                int,
                                double,
                                const float*,
                                Products,
                                GradientScale*,
                                float*,
                                double*,
                                cudaStream_t);

}  // namespace pynst
