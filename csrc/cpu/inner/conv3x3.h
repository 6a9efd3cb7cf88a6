// conv3x3.h: one task of conv3x3_relu, forward or backward. It transforms a block of tiles
// (conv3x3_input.h), multiplies it by the transformed weights (conv3x3_weights.h), Winograd
// position by position, and transforms the products back (conv3x3_output.h). conv3x3_relu.cpp tells
// the whole.

namespace pynst {
namespace PYNST_ISA {

// The register blocks of output channels of one panel. Their slabs of U lie `step` floats apart;
// the last block may be narrower.
struct Columns {
    int count, last_blocks;
    const float* U;
    size_t step;
};

// Multiplies one chunk of channels into M: (positions, panel_blocks, job.rows, 16), positions job.M
// apart. Chunks after the first are added to it. While a group of tiles is multiplied by the
// weights of one position, data of the next position is fetched from the third-level cache to the
// second: the group's share of U if all of U is there, else the group's V.
template <class Tile, Into kInto>
void multiply_chunk(
    const Conv3x3Job& job, int tiles, int chunk, const Columns& columns, const float* V, float* M) {
    const int groups = ceil_div(tiles, job.group);
    const int begin = chunk * job.chunk_blocks;
    const int blocks = min(job.chunk_blocks, job.blocks_in - begin);
    const size_t line = static_cast<size_t>(job.group) * kLanes, v_panel = job.blocks_in * line;
    const size_t m_block = static_cast<size_t>(job.rows) * kLanes;
    const bool ahead_in_u = job.all_weights != nullptr;
    const size_t u_share = job.U / groups;
    // Floats of the next position that one step of a group fetches, and from one prefetch to the
    // next.
    const int share = ahead_in_u ? kStepFloats / groups : kStepBlocks * job.group * kLanes;
    const size_t ahead_step = ceil_div(share, kFetches);
    const auto product = [&](int i) {
        const int position = i / columns.count, column = i % columns.count;
        return Product{V + position * job.V + begin * line,
                       columns.U + column * columns.step + position * job.U,
                       column + 1 < columns.count ? kBlocks : columns.last_blocks,
                       M + position * job.M + column * kBlocks * m_block};
    };
    const auto ahead = [&](int i, int g) {
        const Product p = product(i);
        return ahead_in_u ? p.u + job.U + g * u_share : p.v + job.V + g * v_panel;
    };
    const int count = ceil_div(tiles, kRowStep) * kRowStep;
    const Rows rows = {count, job.group, v_panel, line, m_block};
    const int products = Tile::kPositions * columns.count;
    multiply<kInto>(rows, blocks, job.chain_blocks, products, product, ahead, ahead_step);
}

// Multiplies the panel of output blocks [first, first + blocks) for the tiles whose V is given.
// `own` has room for the panel's U of one chunk.
template <class Tile>
void multiply_panel(
    const Conv3x3Job& job, int tiles, int first, int blocks, const float* V, float* M, float* own) {
    const size_t slab = Tile::kPositions * job.U;
    const int column = first / kBlocks, count = ceil_div(blocks, kBlocks);
    Columns columns = {count, blocks - (count - 1) * kBlocks, own, slab};
    for (int chunk = 0; chunk < job.chunks; ++chunk) {
        if (job.all_weights != nullptr) {
            columns.U = job.all_weights + column * slab;
        } else {
            for (int i = 0; i < count; ++i) {
                transform_slab<Tile>(job, column + i, chunk, own + i * slab);
            }
        }
        if (chunk == 0) {
            multiply_chunk<Tile, Into::stored>(job, tiles, chunk, columns, V, M);
        } else {
            multiply_chunk<Tile, Into::added>(job, tiles, chunk, columns, V, M);
        }
    }
}

template <class Tile>
void output_task(const Conv3x3Job& job, int task, float* scratch) {
    [[maybe_unused]] const MatrixUnit matrix_unit;
    const int tile_block = task / job.shares, share = task % job.shares;
    const TileRange<Tile> range(job, tile_block);
    float *M = scratch, *U = M + Tile::kPositions * job.M, *V = U;
    if (job.all_weights == nullptr) {
        V += job.panel_blocks / kBlocks * Tile::kPositions * job.U;
    }
    if (job.all_tiles != nullptr) {
        V = job.all_tiles + tile_block * Tile::kPositions * job.V;
    } else {
        for (int block = 0; block < job.blocks_in; ++block) {
            transform_tiles<Tile, false>(job, block, range.first, range.count, V);
        }
    }
    const int begin = job.panels * share / job.shares, end = job.panels * (share + 1) / job.shares;
    for (int panel = begin; panel < end; ++panel) {
        const int first = panel * job.panel_blocks;
        const int blocks = min(job.panel_blocks, job.blocks_out - first);
        multiply_panel<Tile>(job, range.count, first, blocks, V, M, U);
        if (job.bias == nullptr) {
            transform_back<Tile, false, false>(job, first, blocks, range.first, range.count, M);
        } else if (job.pool == Pooling::none) {
            transform_back<Tile, true, false>(job, first, blocks, range.first, range.count, M);
        } else {
            transform_back<Tile, true, true>(job, first, blocks, range.first, range.count, M);
        }
    }
    if (job.past_caches) {
        end_stream();
    }
}

// ---- the entries of the table -------------------------------------------------------------------

void conv3x3_weights(const Conv3x3Job& job, int task) {
    job.tile == 4 ? weights_task<Tile<4>>(job, task) : weights_task<Tile<6>>(job, task);
}

void conv3x3_tiles(const Conv3x3Job& job, int task) {
    job.tile == 4 ? input_task<Tile<4>>(job, task) : input_task<Tile<6>>(job, task);
}

void conv3x3(const Conv3x3Job& job, int task, float* scratch) {
    job.tile == 4 ? output_task<Tile<4>>(job, task, scratch)
                  : output_task<Tile<6>>(job, task, scratch);
}

}  // namespace PYNST_ISA
}  // namespace pynst
