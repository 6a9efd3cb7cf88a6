"""Compiles every CUDA source with nvcc; fails where the machine code is right but slow.

    python tests/check_registers.py            # 75 80 90 120
    python tests/check_registers.py 80 86 90

A kernel whose registers spill is right, but reads and writes memory for what should be in a
register; so is one that reads its numbers byte by byte, and one whose products of matrices are not
those of the tensor cores: no test of results would find any of them. Needs nvcc, but no GPU; where
there is no nvcc it says so and succeeds. The instructions themselves are looked at where nvdisasm
is found (`pip install nvidia-cuda-nvdisasm`).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from pathlib import Path

from cuda_on_cpu.build import locked
from ptx import build

ARCHITECTURES = ("75", "80", "90", "120")
KERNEL = re.compile(
    r"Compiling entry function '(?P<name>[^']+)' for 'sm_(?P<architecture>\w+)'.*?"
    r"(?P<stack>\d+) bytes stack frame, "
    r"(?P<stores>\d+) bytes spill stores, (?P<loads>\d+) bytes spill loads.*?"
    r"Used (?P<registers>\d+) registers",
    re.DOTALL,
)
ENTRY = re.compile(r"\.entry (?P<name>\w+)\((?P<code>.*?)^}", re.DOTALL | re.MULTILINE)
BYTE_ACCESS = re.compile(r"\b(?:ld|st)\.global(?:\.nc)?\.[us]8\b")
SECTION = re.compile(r"^\s*\.section\s+\.text\.(?P<name>\w+)")
INSTRUCTION = re.compile(
    r"^\s*/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?(?P<name>[A-Z]\w*)(?P<modifiers>[.\w]*)"
)
DISASSEMBLED = "90"  # every architecture would take a minute

# Sources whose kernels read, write or copy the bits of a ReLU, one byte for eight channels.
# Everything else in memory is a number of two bytes or more.
SOURCES_WITH_BITS = {
    "conv3x3_relu", "conv3x3_relu_backward", "conv3x3_relu_pool", "conv3x3_relu_pool_backward",
    "image_conv3x3_relu", "image_conv3x3_relu_backward", "filter7x7", "filter7x7_backward", "wrap",
}  # fmt: skip

# Products of matrices (mma) and loads of their operands (ldmatrix) as each kernel that has some
# writes them down; a product of 16 channels is two of them before sm_80.
CONVOLUTION = [(144, 36), (288, 54), (288, 54), (288, 54)]
PRODUCTS = {
    "conv3x3_relu": CONVOLUTION,
    "conv3x3_relu_backward": CONVOLUTION,
    "conv3x3_relu_pool": CONVOLUTION,
    "conv3x3_relu_pool_backward": CONVOLUTION,
    "gram": [(24, 8), (24, 8), (32, 12), (32, 12), (32, 16), (36, 12)],
    "image_conv3x3_relu": [(20, 5)],
    "image_conv3x3_relu_backward": [(24, 0)],
    "style_loss": [(24, 8), (32, 12), (32, 16), (48, 14)],
}


def byte_accesses(ptx: str) -> dict[str, int]:
    """Count the accesses of single bytes in global memory, for each kernel that has some."""
    found = ((entry["name"], BYTE_ACCESS.findall(entry["code"])) for entry in ENTRY.finditer(ptx))
    return {name: len(accesses) for name, accesses in found if accesses}


def products(ptx: str) -> dict[str, tuple[int, int]]:
    """Count mma and ldmatrix in each kernel."""
    return {
        entry["name"]: (entry["code"].count("mma.sync"), entry["code"].count("ldmatrix.sync"))
        for entry in ENTRY.finditer(ptx)
    }


def instructions(sass: str) -> dict[str, Counter[str]]:
    """Count the instructions of each kernel by name; loads of single bytes are LDG.U8 and so on."""
    found: dict[str, Counter[str]] = {}
    kernel = ""
    for line in sass.splitlines():
        section, instruction = SECTION.match(line), INSTRUCTION.match(line)
        if section:
            kernel = section["name"]
            found[kernel] = Counter()
        elif instruction and kernel:
            byte = re.search(r"\.[US]8\b", instruction["modifiers"])
            found[kernel][instruction["name"] + (byte[0] if byte else "")] += 1
    return found


def problems_of(source: Path, architecture: str) -> tuple[str, list[str]]:
    """Judge the products of nvcc; returns a line for people, and what is wrong."""
    name = f"{source.name} (sm_{architecture})"
    usage = build.product(source, architecture, "usage").read_text()
    ptx = build.product(source, architecture, "ptx").read_text()
    kernels = [each for each in KERNEL.finditer(usage) if each["architecture"] == architecture]
    if not kernels:
        return f"{name}: no kernels", [f"{name}: nvcc told of no kernel"]
    wrong = [
        f"{each['name']} spills {each['stores']} bytes, reads {each['loads']} back "
        f"and has {each['stack']} bytes on a stack"
        for each in kernels
        if any(int(each[what]) for what in ("stores", "loads", "stack"))
    ]
    if source.stem not in SOURCES_WITH_BITS:
        wrong += [
            f"{kernel} accesses single bytes of global memory in {count} places"
            for kernel, count in byte_accesses(ptx).items()
        ]
    wrong += wrong_products(source.stem, architecture, ptx)
    if architecture == DISASSEMBLED:
        sass = disassembled(build.product(source, architecture, "cubin"))
        wrong += wrong_instructions(source.stem, ptx, sass) if sass is not None else []
    most = max(int(each["registers"]) for each in kernels)
    told = f"{name}: {len(kernels)} kernels, at most {most} registers"
    return told, [f"{name}: {problem}" for problem in wrong]


def wrong_products(stem: str, architecture: str, ptx: str) -> list[str]:
    times = 1 if int(architecture) >= 80 else 2
    wanted = [(times * mma, ldmatrix) for mma, ldmatrix in PRODUCTS.get(stem, [])]
    found = sorted(pair for pair in products(ptx).values() if any(pair))
    if found == wanted:
        return []
    return [f"products and loads of matrices are {found}, and should be {wanted}"]


def wrong_instructions(stem: str, ptx: str, sass: str) -> list[str]:
    """What ptxas has made of the PTX."""
    wanted, wrong = products(ptx), []
    for kernel, count in instructions(sass).items():
        if count["LDL"] or count["STL"]:
            wrong.append(f"{kernel} has {count['LDL']} LDL and {count['STL']} STL")
        bytewise = sum(number for name, number in count.items() if re.match(r"(LD|ST)G?\.", name))
        if bytewise and stem not in SOURCES_WITH_BITS:
            wrong.append(f"{kernel} has {bytewise} loads and stores of single bytes")
        made, asked = (count["HMMA"], count["LDSM"]), wanted.get(kernel, (0, 0))
        if made != asked:
            wrong.append(f"{kernel} has {made[0]} HMMA and {made[1]} LDSM, its PTX has {asked}")
    return wrong


def disassembled(cubin: Path) -> str | None:
    """The instructions of a cubin, where nvdisasm is found."""
    nvdisasm = disassembler()
    if nvdisasm is None:
        return None
    command = [nvdisasm, "-c", str(cubin)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def disassembler() -> str | None:
    """The path of nvdisasm, on the path or from its wheel, or None."""
    of_wheel = Path(sysconfig.get_path("purelib")) / "nvidia" / "cu13" / "bin"
    places = ("/usr/local/cuda/bin", str(of_wheel))
    return shutil.which("nvdisasm") or shutil.which("nvdisasm", path=os.pathsep.join(places))


def main(architectures: tuple[str, ...]) -> int:
    if build.compiler() is None:
        print("registers are not checked: there is no nvcc")
        return 0
    try:
        with locked(build.build_folder()):
            build.compile_all(architectures)
    except build.BuildError as error:
        print(error)
        return 1
    if disassembler() is None:
        print("the instructions are not looked at: there is no nvdisasm")
    found = [problems_of(path, each) for path in build.kernel_sources() for each in architectures]
    for line, _ in found:
        print(line)
    wrong = [problem for _, problems in found for problem in problems]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(tuple(sys.argv[1:]) or ARCHITECTURES))
