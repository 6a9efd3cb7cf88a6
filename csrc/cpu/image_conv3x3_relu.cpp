// image_conv3x3_relu.cpp: the first convolution, which reads the image, and its gradient.
//
//   y = max(0, w * x + b),   dx = w^T * (dy where y > 0 else 0)
//
//   in      x (3, H, W), w packed by image_conv3x3_pack, b (blocks, 16); backward: dy (N, H, W) and
//           the bits of the forward pass.
//   out     y (N, H, W) and one bit per ReLU; backward: dx (3, H, W), overwritten.
//   mapping direct. A task is a strip of rows. Forward: its rows are copied with their padding,
//           then register blocks of pixels x 16-channel blocks sum over 27 taps. Backward: rows of
//           dy are gated into a ring of three, register blocks of pixels x 3 planes sum over taps
//           and channels with one partial sum per lane, and the gradient of padding that repeats
//           an edge pixel is added to that pixel.
//   bounds  any N, H, W >= 1; both kinds of padding.
//   order   each pixel's sum has one fixed order.
//   cost    27 N multiply-adds per pixel each way: bound by the memory traffic of y and dy.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

constexpr int kRadius = 1, kTaps = 9, kStrip = 16;

PlanarJob make_job(ConvShape s, const float* packed, Padding padding) {
    PlanarJob job = {};
    job.blocks = channel_blocks(s.N);
    job.H = s.H;
    job.W = s.W;
    job.padding = padding;
    job.weights = packed;
    job.strip = kStrip;
    return job;
}

size_t task_bytes(ConvShape s) {
    return planar_scratch(channel_blocks(s.N), s.W, kRadius, kStrip);
}

}  // namespace

void image_conv3x3_pack(const float* weight, int N, float* packed) {
    std::fill_n(packed, static_cast<size_t>(channel_blocks(N)) * 3 * kTaps * kLanes, 0.0f);
    for (int n = 0; n < N; ++n) {
        for (int i = 0; i < 3 * kTaps; ++i) {
            packed[(n / kLanes * 3 * kTaps + i) * kLanes + n % kLanes] = weight[n * 3 * kTaps + i];
        }
    }
}

size_t image_conv3x3_relu_scratch(const Threads& threads, ConvShape s) {
    return task_bytes(s) * threads.count();
}

void image_conv3x3_relu(Threads& threads,
                        ConvShape s,
                        const float* x,
                        const float* packed,
                        const float* bias,
                        Padding padding,
                        float* y,
                        uint16_t* bits,
                        void* scratch) {
    PlanarJob job = make_job(s, packed, padding);
    job.image = x;
    job.bias = bias;
    job.features = y;
    job.past_caches = past_caches(y, job.blocks, s.H, s.W);
    job.features_bits = bits;
    const size_t floats = task_bytes(s) / sizeof(float);
    threads.run(ceil_div(s.H, kStrip), [&](int task, int thread) {
        inner().image_conv3x3(job, task, static_cast<float*>(scratch) + thread * floats);
    });
}

void image_conv3x3_relu_backward(Threads& threads,
                                 ConvShape s,
                                 const float* dy,
                                 const uint16_t* bits,
                                 const float* packed,
                                 Padding padding,
                                 float* dx,
                                 void* scratch) {
    PlanarJob job = make_job(s, packed, padding);
    job.dy = dy;
    job.dy_bits = bits;
    job.dx = dx;
    const size_t floats = task_bytes(s) / sizeof(float);
    threads.run(ceil_div(s.H, kStrip), [&](int task, int thread) {
        inner().image_conv3x3_backward(job, task, static_cast<float*>(scratch) + thread * floats);
    });
}

}  // namespace pynst
