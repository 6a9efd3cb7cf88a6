// style_loss.cpp: squared distance of two Gram matrices, and its gradient in the features.
//
//   loss = k sum_ij (s_i s_j (G - A)_ij)^2,  dF_ip += (4 k / sum m) m_p (D F)_ip,
//   D_ij = s_i^2 s_j^2 (G - A)_ij  Gatys et al. 2016, Eq. 4 and 6 up to the constants in k
//
//   in      F (N, M) in blocks; G as from gram.cpp and A, (N, N) float64, symmetric; k; s (N,)
//           float64 or null for ones; m (M,) or null for ones, and its sum.
//   out     loss, overwritten; dF, added to.
//   mapping 1. a task is a row of G: its contribution to the loss and its row of (4 k / M) D,
//           packed for step 2. 2. a task is a strip of pixels: the matrix multiplication D F with
//           pixels as its rows.
//   bounds  any N, M >= 1.
//   order   the loss is summed in float64 along each row, in sixteen sums, then over the rows; each
//           element of D F is one float32 chain in the order of the channels, which is added to dF
//           times m, except with AMX (inner/multiply_amx.h tells its order).
//   cost    N^2 M multiply-adds.

#include <algorithm>

#include "kernels.h"
#include "partition.h"

namespace pynst {
namespace {

// Pixels of one task: whole slices of the inner kernel, which fetches the next slice during each
// one, and few enough that there are about sixteen tasks, or two for each thread, for an even load.
// A slice is computed alike in whatever task it is.
size_t task_pixels(const Threads& threads, size_t M) {
    constexpr size_t most = 512;
    const size_t tasks = std::max(16, 2 * threads.count());
    const size_t slice = inner().slice_pixels;
    return std::max(slice, std::min(most, M / tasks) / slice * slice);
}

// D in panels of `width` columns: (panels, 16 * blocks rows, width).
struct Panels {
    int channels, width;

    explicit Panels(int N)
        : channels(channel_blocks(N) * kLanes), width(inner().block_columns * kLanes) {}
    int count() const {
        return ceil_div(channels, width);
    }
    // Floats of one panel as style_row writes it.
    size_t floats_of_rows() const {
        return static_cast<size_t>(channels) * width;
    }
    // Floats of one panel in the order in which the inner kernel multiplies it.
    size_t floats_of_steps() const {
        const size_t steps = ceil_div(channels / kLanes, inner().step_blocks);
        return steps * inner().step_floats;
    }
    size_t at(int row, int column) const {
        return (static_cast<size_t>(column / width) * channels + row) * width + column % width;
    }
};

// Writes row i of D and returns its contribution to the loss.
double style_row(const Panels& panels,
                 int N,
                 int i,
                 const double* G,
                 const double* A,
                 double factor,
                 const double* scale,
                 float* D) {
    double sums[kLanes] = {};
    double s[kLanes];
    std::fill(s, s + kLanes, 1.0);
    for (int block = 0; block < panels.count() * panels.width; block += kLanes) {
        const int count = i < N ? std::min(kLanes, N - block) : 0;
        const size_t at = static_cast<size_t>(i) * N + block;
        double d[kLanes] = {};
        if (count == kLanes) {  // a case of its own, so that the compiler makes vectors of it
            for (int j = 0; j < kLanes; ++j) {
                d[j] = G[at + j] - A[at + j];
            }
        } else {
            for (int j = 0; j < count; ++j) {
                d[j] = G[at + j] - A[at + j];
            }
        }
        for (int j = 0; scale != nullptr && j < count; ++j) {
            s[j] = scale[i] * scale[block + j];
        }
        float* to = D + panels.at(i, block);
        for (int j = 0; j < kLanes; ++j) {
            sums[j] += (s[j] * d[j]) * (s[j] * d[j]);
            to[j] = static_cast<float>(factor * (s[j] * s[j] * d[j]));
        }
    }
    double total = 0.0;
    for (double sum : sums) {
        total += sum;
    }
    return total;
}

// Floats of scratch of one thread: the pixels of one slice, packed.
size_t task_floats(int N) {
    return static_cast<size_t>(channel_blocks(N)) * kLanes * inner().slice_pixels;
}

}  // namespace

size_t style_loss_scratch(const Threads& threads, int N, size_t) {
    const Panels panels(N);
    const size_t steps = inner().pack_weights == nullptr ? 0 : panels.floats_of_steps();
    const size_t floats =
        panels.count() * (panels.floats_of_rows() + steps) + threads.count() * task_floats(N);
    return round_up(N * sizeof(double)) + floats * sizeof(float);
}

void style_loss(Threads& threads,
                int N,
                size_t M,
                const float* F,
                const double* G,
                const double* A,
                double k,
                const double* scale,
                PixelWeights m,
                float* dF,
                double* loss,
                void* scratch) {
    const Panels panels(N);
    double* rows = static_cast<double*>(scratch);
    float* D = reinterpret_cast<float*>(static_cast<char*>(scratch) + round_up(N * sizeof(double)));
    float* weights = D + panels.count() * panels.floats_of_rows();
    float* packed = weights;

    // 1. the loss and D
    const double factor = 4.0 * k / m.total;
    threads.run(panels.channels, [&](int i, int) {
        const double sum = style_row(panels, N, i, G, A, factor, scale, D);
        if (i < N) {
            rows[i] = sum;
        }
    });
    double total = 0.0;
    for (int i = 0; i < N; ++i) {
        total += rows[i];
    }
    *loss = k * total;
    if (inner().pack_weights == nullptr) {
        weights = D;
    } else {
        packed += panels.count() * panels.floats_of_steps();
        threads.run(panels.count(), [&](int i, int) {
            inner().pack_weights(D + i * panels.floats_of_rows(),
                                 channel_blocks(N),
                                 weights + i * panels.floats_of_steps());
        });
    }

    // 2. the gradient
    const StyleGradientJob job = {F, m.values, weights, M, channel_blocks(N), dF};
    const size_t pixels = task_pixels(threads, M);
    const int tasks = static_cast<int>((M + pixels - 1) / pixels);
    threads.run(tasks, [&](int task, int thread) {
        const size_t begin = task * pixels;
        inner().style_gradient(
            job, begin, std::min(begin + pixels, M), packed + thread * task_floats(N));
    });
}

}  // namespace pynst
