// table.h: the last include of every inner/*.cpp; it gathers the kernels of this instruction set.

// clang-format off: the order matters, each header uses those before it
#include "inner/common.h"
#if defined(PYNST_MULTIPLY)
#include PYNST_MULTIPLY
#else
#include "inner/multiply.h"
#endif
#include "inner/winograd.h"
#include "inner/conv3x3_input.h"
#include "inner/conv3x3_weights.h"
#include "inner/conv3x3_output.h"
#include "inner/conv3x3.h"
#include "inner/planar.h"
#include "inner/planar_backward.h"
#include "inner/reductions.h"
// clang-format on

namespace pynst {
namespace PYNST_ISA {

#define PYNST_NAME_2(isa) #isa
#define PYNST_NAME(isa) PYNST_NAME_2(isa)

extern const Inner kInner;
const Inner kInner = {PYNST_NAME(PYNST_ISA),
                      kRows,
                      kRowStep,
                      kBlocks,
                      kStepBlocks,
                      kStepFloats,
                      kSlicePixels,
                      kWidePanel,
                      kOwnWeights,
                      kSharedWeights,
                      kLargeTiles,
                      kFewTiles,
                      kForFew,
                      kPackWeights,
                      conv3x3_weights,
                      conv3x3_tiles,
                      conv3x3,
                      planar_forward<3>,
                      planar_backward<3>,
                      planar_forward<7>,
                      planar_backward<7>,
                      gram,
                      style_gradient,
                      content,
                      pool2x2,
                      pool2x2_backward};

}  // namespace PYNST_ISA
}  // namespace pynst
