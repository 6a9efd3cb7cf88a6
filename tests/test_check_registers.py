"""Does `check_registers` see what it looks for, and is there nothing of it in the kernels?"""

from __future__ import annotations

import shutil

import pytest
from check_registers import SOURCES, SOURCES_WITH_BITS, byte_accesses, compile_one

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


def test_the_sources_that_may_access_bytes_are_there():
    assert {path.stem for path in SOURCES.glob("*.cu")} >= SOURCES_WITH_BITS


def test_the_gradient_of_the_style_is_read_and_written_in_whole_words():
    """A copy of 16 bytes that the compiler took for 16 copies of one byte made it slow once."""
    nvcc = shutil.which("nvcc")
    if nvcc is None:
        pytest.skip("nvcc is not on the path")
    line, wrong = compile_one(nvcc, SOURCES / "style_loss.cu", "90")
    assert wrong == []
    assert "kernels" in line
