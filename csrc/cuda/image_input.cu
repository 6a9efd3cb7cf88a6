// image_input.cu: from an sRGB picture to the network's input planes, and the gradient back.
//
//   x_p = sum_c axes_pc (255 image_c - mean_c),   gradient_c = 255 sum_p axes_pc dx_p
//
//   in      image (H, W, 3) in [0, 1], axes (3, 3), mean (3); backward: dx (3, H, W).
//   out     x (3, H, W); backward: gradient (H, W, 3), overwritten, and the end of the evaluation.
//   mapping one thread per pixel; three neighbouring loads share each sector. backward: the first
//           block does what evaluation_end.cu tells.
//   bounds  any H, W >= 1; values outside [0, 1] are allowed.
//   order   c = 0, 1, 2, or p = 0, 1, 2.
//   cost    24 bytes per pixel each way: 6.3 MB at 512 x 512.

#include "inner/evaluation_end.cuh"

namespace pynst {
namespace {

constexpr int kThreads = kEndThreads;

__global__ void image_input_kernel(const float* __restrict__ image,
                                   InputAxes input,
                                   int pixels,
                                   float* __restrict__ x) {
    const int pixel = blockIdx.x * kThreads + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    float centred[3];
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        centred[c] = 255.0f * image[3 * static_cast<size_t>(pixel) + c] - input.mean[c];
    }
#pragma unroll
    for (int p = 0; p < 3; ++p) {
        const float* axis = input.axes + 3 * p;
        x[static_cast<size_t>(p) * pixels + pixel] =
            axis[0] * centred[0] + axis[1] * centred[1] + axis[2] * centred[2];
    }
}

__global__ void image_input_backward_kernel(const float* __restrict__ dx,
                                            InputAxes input,
                                            int pixels,
                                            float* __restrict__ gradient,
                                            EvaluationEnd end) {
    if (blockIdx.x == 0) {
        end_evaluation(end);
        return;
    }
    const int pixel = (blockIdx.x - 1) * kThreads + threadIdx.x;
    if (pixel >= pixels) {
        return;
    }
    float planes[3];
#pragma unroll
    for (int p = 0; p < 3; ++p) {
        planes[p] = dx[static_cast<size_t>(p) * pixels + pixel];
    }
#pragma unroll
    for (int c = 0; c < 3; ++c) {
        const float* axes = input.axes + c;
        gradient[3 * static_cast<size_t>(pixel) + c] =
            255.0f * (axes[0] * planes[0] + axes[3] * planes[1] + axes[6] * planes[2]);
    }
}

unsigned blocks_for(int pixels) {
    return (pixels - 1) / kThreads + 1;
}

}  // namespace

void image_input(const float* image, InputAxes axes, int H, int W, float* x, cudaStream_t stream) {
    LAUNCH(image_input_kernel, (blocks_for(H * W)), (kThreads), 0, stream, image, axes, H * W, x);
    CHECK_LAUNCH("image_input");
}

void image_input_backward(const float* dx,
                          InputAxes axes,
                          int H,
                          int W,
                          float* gradient,
                          EvaluationEnd* end,
                          cudaStream_t stream) {
    LAUNCH(image_input_backward_kernel,
           (1 + blocks_for(H * W)),
           (kThreads),
           0,
           stream,
           dx,
           axes,
           H * W,
           gradient,
           end == nullptr ? EvaluationEnd{} : *end);
    CHECK_LAUNCH("image_input_backward");
    if (end != nullptr) {
        end->count = 0;
        end->done = true;
    }
}

}  // namespace pynst
