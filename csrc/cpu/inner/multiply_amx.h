// multiply_amx.h: the matrix multiplication of multiply.h on the matrix unit of a processor with
// AMX.
//
// AMX multiplies numbers in bfloat16, which is float32 cut to its upper 16 bits, and sums in
// float32. Here each float32 is cut into three such pieces, x = high + middle + low exactly. Of the
// nine products of pieces we sum the six that reach the last bit of a float32:
//
//   v u = high high + (high middle + middle high) + (high low + middle middle + low high)
//
// What is left out is below 2^-21 of |v u| and has either sign, and the sums are rounded less often
// than one chain would be. So the result is as accurate as float32, and six products on the unit
// are still faster than one on the vector unit. Numbers below 1e-33 lose their low pieces, which
// the unit takes for zero.

namespace pynst {
namespace avx512 {
extern const Inner kInner;
}
namespace PYNST_ISA {

constexpr int kRows = 32;     // rows of a group: two of the unit's tiles, 16 rows of 64 bytes each
constexpr int kRowStep = 16;  // rows of one tile of the unit

// Configures the unit while it lives. The unit's tiles 0 to 3 hold the sums (row tile, block),
// tiles 4 and 5 hold v (row tile), tiles 6 and 7 hold u (block).
struct MatrixUnit {
    MatrixUnit() {
        struct {
            uint8_t palette = 1, start_row = 0, reserved[14] = {};
            uint16_t bytes_of_row[16] = {};
            uint8_t rows[16] = {};
        } shape;
        for (int tile = 0; tile < 8; ++tile) {
            shape.bytes_of_row[tile] = 64;
            shape.rows[tile] = 16;
        }
        _tile_loadconfig(&shape);
    }
    ~MatrixUnit() {
        _tile_release();
    }
};

// A step has 32 channels, those of two blocks. Each 32 bits of an operand hold a channel of the
// first block and the same channel of the second block.
constexpr int kStepBlocks = 2;
constexpr int kUnitTile = 16 * 32;  // numbers of one tile of the unit

// An operand of a step: (high, middle and low, row tiles or blocks, 16, 32) numbers of 16 bits.
constexpr int kOperand = 3 * 2 * kUnitTile;
constexpr int kStepFloats = kOperand / 2;

// Numbers for the partition of a convolution; inner.h explains each of them. No line is fetched
// ahead (kFetches only has to be positive), since the processor's own prefetching does better at
// this rate. Convolutions of few tiles are left to AVX-512: at 128 and 181 pixels the split weights
// cost more than they save, and rows come in sixteens (closure on two threads 40.3 -> 37.1 and 72.0
// -> 67.2 ms).
constexpr int kFetches = 1;
constexpr int kWidePanel = 4;
constexpr int kOwnWeights = 4;
constexpr size_t kSharedWeights = 4 << 20;
constexpr double kLargeTiles = 0.83;
constexpr int kFewTiles = 48;
constexpr const Inner* kForFew = &avx512::kInner;

// Stores the upper halves of the lanes of a and b, interleaved: one row of a tile of the unit.
inline void store_upper(uint16_t* to, Lanes a, Lanes b) {
    constexpr __mmask64 kLowerHalves = 0x3333333333333333u;
    const __m512i upper = _mm512_set4_epi32(0x0f0e0f0e, 0x0b0a0b0a, 0x07060706, 0x03020302);
    _mm512_storeu_si512(
        to,
        _mm512_mask_shuffle_epi8(
            _mm512_castps_si512(b.v), kLowerHalves, _mm512_castps_si512(a.v), upper));
}

inline Lanes upper(Lanes a) {
    const __m512i bits = _mm512_and_si512(_mm512_castps_si512(a.v), _mm512_set1_epi32(-65536));
    return {_mm512_castsi512_ps(bits)};
}

// Stores a row of each of the three pieces of a and b.
inline void split(uint16_t* to, Lanes a, Lanes b) {
    store_upper(to, a, b);
    a = a - upper(a);
    b = b - upper(b);
    store_upper(to + 2 * kUnitTile, a, b);
    store_upper(to + 4 * kUnitTile, a - upper(a), b - upper(b));
}

// Adds half a unit of the last place of the upper half, so that cutting it off rounds. What is left
// then has either sign.
inline Lanes with_half(Lanes a) {
    const __m512i bits = _mm512_add_epi32(_mm512_castps_si512(a.v), _mm512_set1_epi32(0x8000));
    return {_mm512_castsi512_ps(bits)};
}

// Stores the weights of channel c, of both blocks of a step, for block b of the lanes. Their high
// pieces are rounded, not cut off: if all pieces that the products leave out had one sign, they
// would add up to the same small factor in every layer.
PYNST_INLINE void store_weights(float* u, int c, int b, int, const Vec* w) {
    uint16_t* to = reinterpret_cast<uint16_t*>(u) + b * kUnitTile + c * 32;
    const Lanes first = with_half(w[0]), second = with_half(w[1]);
    store_upper(to, first, second);
    const Lanes left[] = {w[0] - upper(first), w[1] - upper(second)};
    store_upper(to + 2 * kUnitTile, left[0], left[1]);
    store_upper(to + 4 * kUnitTile, left[0] - upper(left[0]), left[1] - upper(left[1]));
}

// Claims the cache lines of kCount Winograd positions.
template <int kCount>
PYNST_INLINE void claim_weights(float* u, int c, int b, size_t position) {
    for (int piece = 0; piece < 3; ++piece) {
        claim<kCount>(u + (piece * 2 * kUnitTile + b * kUnitTile + c * 32) / 2, position);
    }
}

// Brings weights u (16 * blocks, kBlocks, 16) into the order of steps.
void pack_weights(const float* u, int blocks, float* to) {
    constexpr int kBlock = kLanes * kBlocks * kLanes;
    for (; blocks > 0; blocks -= kStepBlocks, u += kStepBlocks * kBlock, to += kStepFloats) {
        for (int c = 0; c < kLanes; ++c) {
            for (int b = 0; b < kBlocks; ++b) {
                const float* from = u + (c * kBlocks + b) * kLanes;
                const Lanes pair[] = {load(from), blocks > 1 ? load(from + kBlock) : zero()};
                store_weights(to, c, b, 0, pair);
            }
        }
    }
}
constexpr auto kPackWeights = pack_weights;

alignas(64) inline const
    float kZeros[kRows * kLanes] = {};  // the partner of a last block without one

// Splits a sixth of the rows of a step of v: the one with number kSixth.
template <int kRowTiles, int kSixth>
PYNST_INLINE void split_rows(const float* first, const float* second, uint16_t* to) {
    constexpr int R = 16 * kRowTiles;
    PYNST_UNROLL
    for (int t = kSixth * R / 6; t < (kSixth + 1) * R / 6; ++t) {
        split(to + t * 32, load(first + t * kLanes), load(second + t * kLanes));
    }
}

template <int kRowTiles>
PYNST_INLINE void products() {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (kRowTiles == 2) {
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
}

template <int kRowTiles>
PYNST_INLINE void load_rows(const uint16_t* v, int piece) {
    _tile_loadd(4, v + piece * 2 * kUnitTile, 64);
    if (kRowTiles == 2) {
        _tile_loadd(5, v + piece * 2 * kUnitTile + kUnitTile, 64);
    }
}

PYNST_INLINE void load_weights(const uint16_t* u, int piece) {
    _tile_loadd(6, u + piece * 2 * kUnitTile, 64);
    _tile_loadd(7, u + piece * 2 * kUnitTile + kUnitTile, 64);
}

// One step: the six products, in an order in which most operands are used twice in a row. Between
// them the rows of a later step are split, for which the unit leaves the processor time.
template <int kRowTiles, int kLaterTiles>
void multiply_step(
    const uint16_t* v, const uint16_t* u, const float* first, const float* second, uint16_t* to) {
    load_rows<kRowTiles>(v, 0);
    load_weights(u, 2);
    products<kRowTiles>();
    split_rows<kLaterTiles, 0>(first, second, to);
    load_weights(u, 1);
    products<kRowTiles>();
    split_rows<kLaterTiles, 1>(first, second, to);
    load_rows<kRowTiles>(v, 1);
    products<kRowTiles>();
    split_rows<kLaterTiles, 2>(first, second, to);
    load_weights(u, 0);
    products<kRowTiles>();
    split_rows<kLaterTiles, 3>(first, second, to);
    load_rows<kRowTiles>(v, 2);
    products<kRowTiles>();
    split_rows<kLaterTiles, 4>(first, second, to);
    load_rows<kRowTiles>(v, 0);
    products<kRowTiles>();
    split_rows<kLaterTiles, 5>(first, second, to);
}

constexpr void (*kSteps[2][2])(
    const uint16_t*, const uint16_t*, const float*, const float*, uint16_t*) = {
    {multiply_step<1, 1>, multiply_step<1, 2>}, {multiply_step<2, 1>, multiply_step<2, 2>}};

// Begins the sums of a group, (row tiles, kBlocks), with zeros or with what `out` holds.
PYNST_INLINE void begin_sums(bool add, int row_tiles, const float* out, size_t out_stride) {
    if (!add) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        return;
    }
    _tile_loadd(0, out, 64);
    _tile_loadd(1, out + out_stride, 64);
    if (row_tiles == 2) {
        _tile_loadd(2, out + 16 * kLanes, 64);
        _tile_loadd(3, out + out_stride + 16 * kLanes, 64);
    }
}

PYNST_INLINE void end_sums(int row_tiles, float* out, size_t out_stride) {
    _tile_stored(0, out, 64);
    _tile_stored(1, out + out_stride, 64);
    if (row_tiles == 2) {
        _tile_stored(2, out + 16 * kLanes, 64);
        _tile_stored(3, out + out_stride + 16 * kLanes, 64);
    }
}

// Walks over all steps of a call: for each product its groups, for each group its steps.
template <class Products>
struct Walk {
    const Products& product;
    const Rows& rows;
    int blocks, count;
    int i = 0, g = 0, step = 0;
    const float* v = product(0).v;

    void next() {
        if (++step * kStepBlocks < blocks) {
            return;
        }
        step = 0;
        if (++g * rows.group < rows.count) {
            return;
        }
        g = 0;
        if (++i < count) {  // after the last product it is split once more, which nobody reads
            v = product(i).v;
        }
    }
    int row_tiles() const {
        return rows.count - g * rows.group > 16 ? 2 : 1;
    }
    const float* first() const {
        return v + g * rows.v_group + step * kStepBlocks * rows.v_stride;
    }
    const float* second() const {
        return step * kStepBlocks + 1 < blocks ? first() + rows.v_stride : kZeros;
    }
};

// Splits the rows of one step before the first product.
template <class Products>
void split_rows(const Walk<Products>& at, uint16_t* to) {
    const float *first = at.first(), *second = at.second();
    for (int t = 0; t < at.row_tiles() * 16; ++t) {
        split(to + t * 32, load(first + t * kLanes), load(second + t * kLanes));
    }
}

// As multiply() in multiply.h, but the unit sums in chains of its own. Rows of v are read up to the
// next multiple of kRowStep, whatever they hold.
template <Into kInto, int = kFetches, class Products, class Ahead>
void multiply(
    const Rows& rows, int blocks, int, int count, const Products& product, const Ahead&, size_t) {
    // Rows are split kEarly steps ahead, because they must have left the queue of stores before
    // they are loaded as tiles.
    constexpr int kEarly = 2, kSlots = kEarly + 1;
    alignas(64) uint16_t slots[kSlots][kOperand];
    alignas(64) float sums[4 * 16 * kLanes];
    Walk<Products> early = {product, rows, blocks, count};
    for (int turn = 0; turn < kEarly; ++turn, early.next()) {
        split_rows(early, slots[turn]);
    }
    int turn = 0;
    const int steps = ceil_div(blocks, kStepBlocks);
    for (int i = 0; i < count; ++i) {
        const Product p = product(i);
        for (int g = 0; g * rows.group < rows.count; ++g) {
            const int group_rows = min(rows.group, rows.count - g * rows.group);
            const int row_tiles = ceil_div(group_rows, 16);
            const bool whole = kInto != Into::weighed && group_rows % 16 == 0 && p.width == kBlocks;
            float* const out = p.out + static_cast<size_t>(g) * rows.group * kLanes;
            const uint16_t* u = reinterpret_cast<const uint16_t*>(p.u);
            begin_sums(kInto == Into::added && whole, row_tiles, out, rows.out_stride);
            for (int step = 0; step < steps; ++step, u += kOperand, early.next()) {
                const uint16_t* const v = slots[turn];
                uint16_t* const to = slots[(turn + kEarly) % kSlots];
                turn = (turn + 1) % kSlots;
                kSteps[row_tiles - 1][early.row_tiles() - 1](
                    v, u, early.first(), early.second(), to);
            }
            if (whole) {
                end_sums(row_tiles, out, rows.out_stride);
                continue;
            }
            end_sums(2, sums, kRows * kLanes);
            for (int b = 0; b < p.width; ++b) {
                for (int t = 0; t < group_rows; ++t) {
                    float* to = out + b * rows.out_stride + t * kLanes;
                    const Lanes sum = load(sums + (b * kRows + t) * kLanes);
                    if constexpr (kInto == Into::weighed) {
                        const float weight = rows.weights[g * rows.group + t];
                        store(to, fma(broadcast(weight), sum, load(to)));
                    } else {
                        store(to, kInto == Into::added ? load(to) + sum : sum);
                    }
                }
            }
        }
    }
}

}  // namespace PYNST_ISA
}  // namespace pynst
