// filter7x7.cpp: the built-in filters, each rectified with both signs, and their gradient.
//
//   z_f = w_f * x on plane p(f),   y_2f = max(0, z_f),   y_2f+1 = max(0, -z_f)
//   dx_p += sum over f of w_f^T * ((dy_2f where y_2f > 0) - (dy_2f+1 where y_2f+1 > 0))
//
//   in      x (3, H, W), K filters packed by filter7x7_pack; backward: dy (2 K, H, W), bits.
//   out     y (2 K, H, W) and one bit per ReLU; backward: dx (3, H, W), added to.
//   mapping as image_conv3x3_relu, with 16 filters in the lanes: forward z and -z are zipped on
//           the way out, backward the two gradients of a filter are subtracted on the way in. A
//           group of 16 filters sums only over the planes that it reads.
//   bounds  any K >= 1; H, W >= 3, so that the mirrored border of three pixels exists.
//   order   each pixel's sum has one fixed order.
//   cost    49 multiply-adds per filter and pixel each way, times the planes of its group.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

constexpr int kRadius = 3, kTaps = 49, kStrip = 16;

PlanarJob make_job(ConvShape s, const float* packed, const int32_t* planes) {
    PlanarJob job = {};
    job.blocks = channel_blocks(s.N);
    job.H = s.H;
    job.W = s.W;
    job.padding = Padding::mirror;
    job.weights = packed;
    job.planes = planes;
    job.strip = kStrip;
    return job;
}

size_t task_bytes(ConvShape s) {
    return planar_scratch(ceil_div(channel_blocks(s.N), 2), s.W, kRadius, kStrip);
}

}  // namespace

void filter7x7_pack(
    const float* weight, const int32_t* plane, int K, float* packed, int32_t* planes) {
    const int groups = channel_blocks(K);
    std::fill_n(packed, static_cast<size_t>(groups) * 3 * kTaps * kLanes, 0.0f);
    std::fill_n(planes, groups, 0);
    for (int f = 0; f < K; ++f) {
        const int group = f / kLanes;
        planes[group] |= 1 << plane[f];
        for (int tap = 0; tap < kTaps; ++tap) {
            packed[((group * 3 + plane[f]) * kTaps + tap) * kLanes + f % kLanes] =
                weight[f * kTaps + tap];
        }
    }
}

size_t filter7x7_scratch(const Threads& threads, ConvShape s) {
    return task_bytes(s) * threads.count();
}

void filter7x7(Threads& threads,
               ConvShape s,
               const float* x,
               const float* packed,
               const int32_t* planes,
               float* y,
               uint16_t* bits,
               void* scratch) {
    PlanarJob job = make_job(s, packed, planes);
    job.image = x;
    job.features = y;
    job.past_caches = past_caches(y, job.blocks, s.H, s.W);
    job.features_bits = bits;
    const size_t floats = task_bytes(s) / sizeof(float);
    threads.run(ceil_div(s.H, kStrip), [&](int task, int thread) {
        inner().filter7x7(job, task, static_cast<float*>(scratch) + thread * floats);
    });
}

void filter7x7_backward(Threads& threads,
                        ConvShape s,
                        const float* dy,
                        const uint16_t* bits,
                        const float* packed,
                        const int32_t* planes,
                        float* dx,
                        void* scratch) {
    PlanarJob job = make_job(s, packed, planes);
    job.dy = dy;
    job.dy_bits = bits;
    job.dx = dx;
    const size_t floats = task_bytes(s) / sizeof(float);
    threads.run(ceil_div(s.H, kStrip), [&](int task, int thread) {
        inner().filter7x7_backward(job, task, static_cast<float*>(scratch) + thread * floats);
    });
}

}  // namespace pynst
