// bindings_networks.cpp: the ops of VGG-19, forward and backward.

#include <algorithm>
#include <iterator>

#include "bindings.h"

namespace pynst {
namespace {

// ---- conv3x3_relu -------------------------------------------------------------------------------

// Sizes of a layer: channels in and out, pixels of the convolution's input.
struct Layer {
    int C, N, H, W;
};

constexpr ConvTile kTiles[] = {
    ConvTile::large, ConvTile::narrow, ConvTile::flat, ConvTile::split, ConvTile::simt};
constexpr const char* kTileNames[] = {"large", "narrow", "flat", "split", "simt"};

Division division_of(const Arguments& arguments,
                     const std::string& tile,
                     int parts,
                     bool clustered) {
    const auto* const found = std::find(std::begin(kTileNames), std::end(kTileNames), tile);
    arguments.require(
        found != std::end(kTileNames),
        "tile must be 'large', 'narrow', 'flat', 'split' or 'simt', got '" + tile + "'");
    arguments.require(
        parts >= 1 && parts <= kMostParts,
        "parts must be 1 to " + std::to_string(kMostParts) + ", got " + std::to_string(parts));
    return {kTiles[found - std::begin(kTileNames)], parts, clustered};
}

// The tiles by name, as pynst/backends/divisions.py reads them.
py::dict conv3x3_tiles() {
    py::dict tiles;
    for (size_t i = 0; i < std::size(kTiles); ++i) {
        const ConvTileSize size = conv3x3_tile_size(kTiles[i]);
        tiles[kTileNames[i]] =
            py::make_tuple(size.height, size.channels, size.warps, size.resident);
    }
    return tiles;
}

// Whether a tile is one of the kernel that takes these weights.
bool fits(ConvTile tile, const half*) {
    return tile != ConvTile::split && tile != ConvTile::simt;
}
bool fits(ConvTile tile, const SplitWeights&) {
    return tile == ConvTile::split;
}
bool fits(ConvTile tile, const float*) {
    return tile == ConvTile::simt;
}

// Calls op(T(), weights) in the precision of the features.
template <class Op>
void with_weights(const Arguments& arguments,
                  const char* name,
                  const DeviceArray& features,
                  const py::object& weights,
                  const py::object& low,
                  int outputs,
                  int inputs,
                  Division division,
                  Op op) {
    const auto run = [&](auto type, auto w) {
        arguments.require(fits(division.tile, w),
                          std::string("tile must be of the precision of the weights, got '") +
                              kTileNames[static_cast<int>(division.tile)] + "'");
        op(type, w);
    };
    const auto packed = [&](auto type, const char* part, const py::object& array) {
        return arguments.in<decltype(type)>(
            part, array, {{"9", 9}, {"", outputs}, {"", inputs}}, kVector);
    };
    arguments.with_type(name, features, [&](auto type) {
        if constexpr (std::is_same_v<decltype(type), half>) {
            run(type, packed(half(), "weights", weights));
        } else if (low.is_none()) {
            run(type, packed(float(), "weights", weights));
        } else {
            run(type, SplitWeights{packed(half(), "weights", weights), packed(half(), "low", low)});
        }
    });
}

void bind_conv3x3(py::module_& m) {
    m.attr("conv3x3_tiles") = conv3x3_tiles();
    m.attr("conv3x3_most_parts") = kMostParts;
    m.def("conv3x3_most_clustered", conv3x3_most_clustered);
    m.def("conv3x3_scratch",
          [](const py::object& C,
             const py::object& N,
             const py::object& H,
             const py::object& W,
             const std::string& tile,
             int parts,
             bool clustered) {
              const Sizes sizes("conv3x3_scratch");
              const int h = sizes.pixels("H", H), w = sizes.pixels("W", W);
              sizes.area(h, w);
              return conv3x3_scratch(
                  sizes.channels("C", C),
                  sizes.channels("N", N),
                  h,
                  w,
                  division_of(Arguments("conv3x3_scratch"), tile, parts, clustered));
          });
    m.def(
        "conv3x3_relu",
        [](const py::object& x,
           const py::object& weights,
           const py::object& low,
           const py::object& bias,
           const py::object& channels_in,
           const py::object& channels_out,
           const std::string& tile,
           int parts,
           bool clustered,
           const py::object& y,
           const py::object& bits,
           const py::object& scratch,
           uintptr_t stream) {
            const Arguments arguments("conv3x3_relu", stream);
            const int C = Sizes("conv3x3_relu").channels("C", channels_in);
            const int N = Sizes("conv3x3_relu").channels("N", channels_out);
            const DeviceArray& from = arguments.array("x", x);
            const int H = from.length(0), W = from.length(1), n = padded(N);
            const float* b = arguments.in<float>("bias", bias, {{"", n}});
            uint8_t* mask = arguments.bits_out(bits, H, W, n);
            const Division division = division_of(arguments, tile, parts, clustered);
            void* memory = arguments.scratch(scratch, conv3x3_scratch(C, N, H, W, division));
            with_weights(
                arguments, "x", from, weights, low, n, padded(C), division, [&](auto type, auto w) {
                    using T = decltype(type);
                    const T* p = arguments.features<T>("x", from, kAny, kAny, padded(C));
                    T* to = arguments.features_out<T>("y", y, H, W, n);
                    conv3x3_relu(
                        p, w, b, C, N, H, W, division, to, mask, memory, as_stream(stream));
                });
        });
    m.def("conv3x3_relu_backward",
          [](const py::object& dy,
             const py::object& bits,
             const py::object& weights,
             const py::object& low,
             const py::object& channels_in,
             const py::object& channels_out,
             const std::string& tile,
             int parts,
             bool clustered,
             const py::object& gradient_scale,
             const py::object& dx,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("conv3x3_relu_backward", stream);
              const int C = Sizes("conv3x3_relu_backward").channels("C", channels_in);
              const int N = Sizes("conv3x3_relu_backward").channels("N", channels_out);
              const DeviceArray& from = arguments.array("dy", dy);
              const int H = from.length(0), W = from.length(1), n = padded(N);
              const uint8_t* mask = arguments.bits(bits, H, W, n);
              GradientScale* scale = arguments.scale(gradient_scale);
              const Division division = division_of(arguments, tile, parts, clustered);
              void* memory = arguments.scratch(scratch, conv3x3_scratch(N, C, H, W, division));
              with_weights(
                  arguments,
                  "dy",
                  from,
                  weights,
                  low,
                  padded(C),
                  n,
                  division,
                  [&](auto type, auto w) {
                      using T = decltype(type);
                      const T* p = arguments.features<T>("dy", from, kAny, kAny, n);
                      T* to = arguments.features_out<T>("dx", dx, H, W, padded(C));
                      conv3x3_relu_backward(
                          p, mask, w, C, N, H, W, division, scale, to, memory, as_stream(stream));
                  });
          });
}

void bind_conv3x3_pool(py::module_& m) {
    m.def(
        "conv3x3_relu_pool",
        [](const py::object& x,
           const py::object& weights,
           const py::object& low,
           const py::object& bias,
           const py::object& channels_in,
           const py::object& channels_out,
           const std::string& tile,
           int parts,
           bool clustered,
           const std::string& mode,
           const py::object& y,
           const py::object& bits,
           const py::object& choices,
           const py::object& scratch,
           uintptr_t stream) {
            const Arguments arguments("conv3x3_relu_pool", stream);
            const int C = Sizes("conv3x3_relu_pool").channels("C", channels_in);
            const int N = Sizes("conv3x3_relu_pool").channels("N", channels_out);
            const DeviceArray& from = arguments.array("x", x);
            const int H = from.length(0), W = from.length(1), n = padded(N);
            const Pooling pool = pooling(arguments, mode);
            const float* b = arguments.in<float>("bias", bias, {{"", n}});
            uint8_t* mask = arguments.bits_out(bits, H, W, n);
            uint16_t* chosen = arguments.choices_out(choices, H / 2, W / 2, n);
            const Division division = division_of(arguments, tile, parts, clustered);
            void* memory = arguments.scratch(scratch, conv3x3_scratch(C, N, H, W, division));
            with_weights(
                arguments, "x", from, weights, low, n, padded(C), division, [&](auto type, auto w) {
                    using T = decltype(type);
                    const T* p = arguments.features<T>("x", from, kAny, kAny, padded(C));
                    T* to = arguments.features_out<T>("y", y, H / 2, W / 2, n);
                    conv3x3_relu_pool(p,
                                      w,
                                      b,
                                      C,
                                      N,
                                      H,
                                      W,
                                      pool,
                                      division,
                                      to,
                                      mask,
                                      chosen,
                                      memory,
                                      as_stream(stream));
                });
        });
    m.def("conv3x3_relu_pool_backward",
          [](const py::object& dy,
             const py::object& bits,
             const std::string& mode,
             const py::object& choices,
             const py::object& weights,
             const py::object& low,
             const py::object& channels_in,
             const py::object& channels_out,
             const std::string& tile,
             int parts,
             bool clustered,
             const py::object& gradient_scale,
             const py::object& dx,
             const py::object& scratch,
             uintptr_t stream) {
              const Arguments arguments("conv3x3_relu_pool_backward", stream);
              const int C = Sizes("conv3x3_relu_pool_backward").channels("C", channels_in);
              const int N = Sizes("conv3x3_relu_pool_backward").channels("N", channels_out);
              const DeviceArray &from = arguments.array("dy", dy),
                                &to_array = arguments.array("dx", dx);
              const int H = to_array.length(0), W = to_array.length(1), n = padded(N);
              const Pooling pool = pooling(arguments, mode);
              const uint8_t* mask = arguments.bits(bits, H, W, n);
              const uint16_t* chosen = arguments.choices(pool, choices, H / 2, W / 2, n);
              GradientScale* scale = arguments.scale(gradient_scale);
              const Division division = division_of(arguments, tile, parts, clustered);
              void* memory = arguments.scratch(scratch, conv3x3_scratch(N, C, H, W, division));
              with_weights(arguments,
                           "dy",
                           from,
                           weights,
                           low,
                           padded(C),
                           n,
                           division,
                           [&](auto type, auto w) {
                               using T = decltype(type);
                               const T* p = arguments.features<T>("dy", from, H / 2, W / 2, n);
                               T* to = arguments.features_out<T>("dx", dx, kAny, kAny, padded(C));
                               conv3x3_relu_pool_backward(p,
                                                          mask,
                                                          pool,
                                                          chosen,
                                                          w,
                                                          C,
                                                          N,
                                                          H,
                                                          W,
                                                          division,
                                                          scale,
                                                          to,
                                                          memory,
                                                          as_stream(stream));
                           });
          });
}

// ---- image_conv3x3_relu -------------------------------------------------------------------------

void bind_image_conv3x3(py::module_& m) {
    m.def("image_conv3x3_relu",
          [](const py::object& x,
             const py::object& weights,
             const py::object& bias,
             const py::object& channels,
             const std::string& padding,
             const py::object& y,
             const py::object& bits,
             uintptr_t stream) {
              const Arguments arguments("image_conv3x3_relu", stream);
              const int N = Sizes("image_conv3x3_relu").channels("N", channels);
              const DeviceArray &from = arguments.array("x", x),
                                &to_array = arguments.array("y", y);
              const int H = from.length(1), W = from.length(2), n = padded(N);
              const Padding pad = padding_of(arguments, padding);
              const float* p = arguments.image("x", from, kAny, kAny);
              const float* w =
                  arguments.in<float>("weights", weights, {{"27", 27}, {"", n}}, kVector);
              const float* b = arguments.in<float>("bias", bias, {{"", n}}, kVector);
              uint8_t* mask = arguments.bits_out(bits, H, W, n);
              arguments.with_type("y", to_array, [&](auto type) {
                  auto* to = arguments.features_out<decltype(type)>("y", y, H, W, n);
                  image_conv3x3_relu(p, w, b, N, H, W, pad, to, mask, as_stream(stream));
              });
          });
    m.def("image_conv3x3_relu_backward",
          [](const py::object& dy,
             const py::object& bits,
             const py::object& weights,
             const py::object& channels,
             const std::string& padding,
             const py::object& gradient_scale,
             const py::object& dx,
             uintptr_t stream) {
              const Arguments arguments("image_conv3x3_relu_backward", stream);
              const int N = Sizes("image_conv3x3_relu_backward").channels("N", channels);
              const DeviceArray &from = arguments.array("dy", dy),
                                &to_array = arguments.array("dx", dx);
              const int H = to_array.length(1), W = to_array.length(2), n = padded(N);
              const Padding pad = padding_of(arguments, padding);
              const uint8_t* mask = arguments.bits(bits, H, W, n);
              const float* w =
                  arguments.in<float>("weights", weights, {{"27", 27}, {"", n}}, kVector);
              const GradientScale* scale = arguments.scale(gradient_scale);
              float* to = arguments.image_out("dx", to_array, kAny, kAny);
              arguments.with_type("dy", from, [&](auto type) {
                  const auto* p = arguments.features<decltype(type)>("dy", from, H, W, n);
                  image_conv3x3_relu_backward(
                      p, mask, w, N, H, W, pad, scale, to, as_stream(stream));
              });
          });
}

// ---- pool2x2 ------------------------------------------------------------------------------------

void bind_pool2x2(py::module_& m) {
    m.def("pool2x2",
          [](const py::object& x,
             const std::string& mode,
             const py::object& y,
             const py::object& choices,
             uintptr_t stream) {
              const Arguments arguments("pool2x2", stream);
              const DeviceArray& from = arguments.array("x", x);
              const int H = from.length(0), W = from.length(1), C = from.length(2);
              const Pooling pool = pooling(arguments, mode);
              uint16_t* chosen = arguments.choices_out(choices, H / 2, W / 2, C);
              arguments.with_type("x", from, [&](auto type) {
                  using T = decltype(type);
                  const T* p = arguments.features<T>("x", from, kAny, kAny, kAny);
                  T* to = arguments.features_out<T>("y", y, H / 2, W / 2, C);
                  pool2x2(p, C, H, W, pool, to, chosen, as_stream(stream));
              });
          });
    m.def("pool2x2_backward",
          [](const py::object& dy,
             const std::string& mode,
             const py::object& choices,
             const py::object& dx,
             uintptr_t stream) {
              const Arguments arguments("pool2x2_backward", stream);
              const DeviceArray &from = arguments.array("dy", dy),
                                &to_array = arguments.array("dx", dx);
              const int H = to_array.length(0), W = to_array.length(1), C = to_array.length(2);
              const Pooling pool = pooling(arguments, mode);
              const uint16_t* chosen = arguments.choices(pool, choices, H / 2, W / 2, C);
              arguments.with_type("dy", from, [&](auto type) {
                  using T = decltype(type);
                  const T* p = arguments.features<T>("dy", from, H / 2, W / 2, C);
                  T* to = arguments.features_out<T>("dx", dx, kAny, kAny, kAny);
                  pool2x2_backward(p, C, H, W, pool, chosen, to, as_stream(stream));
              });
          });
}

// ---- wrap ---------------------------------------------------------------------------------------

template <class T>
void wrap_checked(const Arguments& arguments,
                  const DeviceArray& x,
                  const DeviceArray& y,
                  cudaStream_t stream) {
    constexpr int kMostInRow = 65535 * 256;  // what one row of blocks can write
    const int planes = x.length(0), H = x.length(1), W = x.length(2), K = x.length(3);
    const int margin = y.length(1) < H ? -1 : 1, y_H = H + 2 * margin, y_W = W + 2 * margin;
    const T* from = arguments.in<T>("x", x, {{"planes"}, {"H"}, {"W"}, {"K"}});
    T* to = arguments.out<T>("y", y, {{"", planes}, {"", y_H}, {"", y_W}, {"", K}});
    arguments.area(H, W);
    arguments.require(static_cast<long long>(y_W) * K <= kMostInRow,
                      "a row of y must have at most " + std::to_string(kMostInRow) +
                          " values, got " + describe(y));
    wrap(from, planes, H, W, K, y_H, y_W, to, stream);
}

void bind_wrap(py::module_& m) {
    m.def("wrap", [](const py::object& x, const py::object& y, uintptr_t stream) {
        const Arguments arguments("wrap", stream);
        const DeviceArray &from = arguments.array("x", x), &to = arguments.array("y", y);
        if (from.code == kType<uint8_t>.code) {
            wrap_checked<uint8_t>(arguments, from, to, as_stream(stream));
        } else {
            wrap_checked<uint32_t>(arguments, from, to, as_stream(stream));
        }
    });
}

}  // namespace

void bind_networks(py::module_& m) {
    bind_conv3x3(m);
    bind_conv3x3_pool(m);
    bind_image_conv3x3(m);
    bind_pool2x2(m);
    bind_wrap(m);
}

}  // namespace pynst
