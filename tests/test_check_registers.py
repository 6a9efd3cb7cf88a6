"""Does `check_registers` see what it looks for, and is there nothing of it in the kernels?"""

from __future__ import annotations

import pytest
from check_registers import (
    PRODUCTS,
    SOURCES_WITH_BITS,
    byte_accesses,
    instructions,
    problems_of,
    products,
    wrong_instructions,
    wrong_products,
)  # fmt: skip
from cuda_on_cpu.build import locked
from ptx import build

PTX = """
.visible .entry words(
    .param .u64 words_param_0
)
{
    ld.global.nc.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];
    st.shared.u8 [%r5], %rs1;
}
.visible .entry bytes(
    .param .u64 bytes_param_0
)
{
    ld.global.u8 %rs1, [%rd1];
    ld.global.nc.u8 %rs2, [%rd1+1];
    st.global.u8 [%rd2], %rs1;
    st.global.u16 [%rd2], %rs1;
}
"""


def test_accesses_of_single_bytes_are_counted_by_kernel():
    assert byte_accesses(PTX) == {"bytes": 3}


PRODUCT = """
.visible .entry product(
    .param .u64 product_param_0
)
{
    ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1, %r2, %r3, %r4}, [%r5];
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f1, %f2}, {%r1, %r2}, {%r3}, {%f1, %f2};
    mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%f3, %f4}, {%r1, %r2}, {%r4}, {%f3, %f4};
}
"""
SASS = """
\t.section\t.text.product,"ax",@progbits
.text.product:
        /*0000*/                   LDC R1, c[0x0][0x28] ;
        /*0010*/                   LDSM.16.M88.4 R8, [R4] ;
        /*0020*/              @!P1 LDG.E.U8.CONSTANT R9, desc[UR4][R2.64] ;
        /*0030*/                   LDG.E.128 R12, desc[UR4][R2.64] ;
        /*0040*/                   HMMA.16816.F32 R4, R8, R10, R4 ;
        /*0050*/                   HMMA.16816.F32 R4, R8, R10, R4 ;
        /*0060*/             @!UP0 STL [R1+0x4], R4 ;
\t.section\t.text.other,"ax",@progbits
        /*0000*/                   EXIT ;
"""


def test_products_and_loads_of_matrices_are_counted_by_kernel():
    assert products(PTX + PRODUCT) == {"words": (0, 0), "bytes": (0, 0), "product": (2, 1)}


def test_products_other_than_those_of_the_table_are_told(monkeypatch):
    monkeypatch.setitem(PRODUCTS, "some", [(2, 1)])
    assert wrong_products("some", "90", PTX + PRODUCT) == []
    assert wrong_products("some", "90", PTX + PRODUCT + PRODUCT.replace("product", "second"))
    assert wrong_products("some", "75", PRODUCT)  # where it takes twice as many
    assert wrong_products("none", "90", PTX) == []
    assert wrong_products("none", "90", PRODUCT)


def test_instructions_are_counted_by_kernel():
    assert instructions(SASS) == {
        "product": {"LDC": 1, "LDSM": 1, "LDG.U8": 1, "LDG": 1, "HMMA": 2, "STL": 1},
        "other": {"EXIT": 1},
    }


def test_slow_instructions_are_told():
    assert wrong_instructions("some", PRODUCT, SASS) == [
        "product has 0 LDL and 1 STL",
        "product has 1 loads and stores of single bytes",
    ]
    assert wrong_instructions("wrap", PRODUCT, SASS) == ["product has 0 LDL and 1 STL"]
    more = PRODUCT.replace("ldmatrix", "ldmatrix.sync ldmatrix")
    (told,) = wrong_instructions("wrap", more, SASS.replace("STL", "LDS"))
    assert told == "product has 2 HMMA and 1 LDSM, its PTX has (2, 2)"


def test_the_sources_that_are_named_are_there():
    assert {path.stem for path in build.kernel_sources()} >= SOURCES_WITH_BITS | set(PRODUCTS)


def test_the_gradient_of_the_style_is_read_and_written_in_whole_words():
    """A copy of 16 bytes that the compiler took for 16 copies of one byte made it slow once."""
    if build.compiler() is None:
        pytest.skip("there is no nvcc")
    (source,) = (path for path in build.kernel_sources() if path.stem == "style_loss")
    with locked(build.build_folder()):
        build.compile_one(source, build.ARCHITECTURES)
    line, wrong = problems_of(source, "90")
    assert wrong == []
    assert "kernels" in line
