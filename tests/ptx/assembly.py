"""Reads the PTX that nvcc writes: kernels with their parameters, registers and statements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_THREADS = 1024  # of a block, where the kernel names no bound of its own

KERNEL = re.compile(
    r"\.entry (?P<name>\S+)\((?P<parameters>.*?)\)\s*(?P<bounds>(?:\.\w+ [^\n]*\n)*)"
    r"\{\n(?P<body>.*?)\n\}\n",
    re.DOTALL,
)
PARAMETER = re.compile(r"\.param (?:\.align (\d+) )?\.(\w+) (\S+?)(?:\[(\d+)\])?$")
SHARED = re.compile(r"^\s*\.shared \.align (\d+) \.b8 (\S+)\[(\d+)\];", re.MULTILINE)
DYNAMIC = re.compile(r"^\.extern \.shared \.align \d+ \.b8 (\S+)\[\];", re.MULTILINE)
REGISTERS = re.compile(r"\.reg \.(\w+)\s+([^;]+);")
BOUND = re.compile(r"\.maxntid (\d+), (\d+), (\d+)")
LABEL = re.compile(r"(\$\w+):")
GUARD = re.compile(r"@(!?)(%\w+)\s+(.*)", re.DOTALL)


class Statement(NamedTuple):
    """One instruction; with a guard, only lanes whose predicate differs from `inverted` run it."""

    guard: str | None
    inverted: bool
    opcode: str
    operands: tuple[str, ...]
    text: str


class Shared(NamedTuple):
    """An array in shared memory, sizes in bytes."""

    name: str
    align: int
    nbytes: int


@dataclass
class Kernel:
    """One kernel; offsets and sizes in bytes.

    Attributes
    ----------
    parameters : offset and size of each parameter, by name
    threads : the largest number of threads of a block
    registers : type of each register, e.g. "b32" or "pred", by name
    shared : arrays of fixed size in shared memory
    dynamic : names for the shared memory whose size each launch gives
    labels : index of the statement behind each label
    """

    name: str
    parameters: dict[str, tuple[int, int]]
    threads: int
    registers: dict[str, str]
    shared: list[Shared]
    dynamic: list[str]
    statements: list[Statement] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)

    @property
    def parameter_nbytes(self) -> int:
        return max((offset + size for offset, size in self.parameters.values()), default=0)


def kernels_of(ptx: str) -> dict[str, Kernel]:
    """All kernels of a PTX file, by their mangled names."""
    ptx = re.sub(r"//[^\n]*", "", ptx)
    outside = KERNEL.sub("", ptx)
    dynamic = DYNAMIC.findall(outside)
    found = {}
    for match in KERNEL.finditer(ptx):
        body = match["body"]
        bound = BOUND.search(match["bounds"])
        kernel = Kernel(
            match["name"],
            parameters_of(match["parameters"]),
            int(bound[1]) * int(bound[2]) * int(bound[3]) if bound else MOST_THREADS,
            registers_of(body),
            [Shared(name, int(align), int(nbytes))
             for align, name, nbytes in SHARED.findall(outside) + SHARED.findall(body)],
            dynamic,
        )  # fmt: skip
        for line in body.split("\n"):
            read_line(line.strip(), kernel)
        found[kernel.name] = kernel
    return found


def parameters_of(text: str) -> dict[str, tuple[int, int]]:
    """Offset and size of each parameter, each aligned as PTX aligns it."""
    found, offset = {}, 0
    for each in operands_of(text.replace("\n", " ")):
        match = PARAMETER.match(each)
        assert match is not None, each
        size = int(match[4]) if match[4] else int(match[2][1:]) // 8
        align = int(match[1]) if match[1] else size
        offset = -(-offset // align) * align
        found[match[3]] = offset, size
        offset += size
    return found


def registers_of(body: str) -> dict[str, str]:
    """Type of each register; ``%r<3>`` declares %r0, %r1 and %r2."""
    found = {}
    for kind, names in REGISTERS.findall(body):
        for name in names.split(","):
            several = re.match(r"(%\w+?)<(\d+)>", name.strip())
            if several:
                found |= {f"{several[1]}{i}": kind for i in range(int(several[2]))}
            else:
                found[name.strip()] = kind
    return found


def read_line(line: str, kernel: Kernel) -> None:
    """Append the labels and statements of one line: inline assembly has several on a line."""
    while line and not line.startswith("."):
        label = LABEL.match(line)
        if label:
            kernel.labels[label[1]] = len(kernel.statements)
            line = line[label.end() :].strip()
        elif line[0] in "{}":
            line = line[1:].strip()
        else:
            text, _, line = line.partition(";")
            line = line.strip()
            kernel.statements.append(statement_of(text))


def statement_of(text: str) -> Statement:
    guard = GUARD.match(text)
    opcode, *rest = (guard[3] if guard else text).split(None, 1)
    operands = tuple(operands_of(rest[0])) if rest else ()
    if guard is None:
        return Statement(None, False, opcode, operands, text)
    return Statement(guard[2], guard[1] == "!", opcode, operands, text)


def operands_of(text: str) -> list[str]:
    """Split at commas outside brackets."""
    found, depth, start = [], 0, 0
    for i, character in enumerate(text + ","):
        depth += character in "[{("
        depth -= character in "]})"
        if character == "," and depth == 0:
            found.append(text[start:i].strip())
            start = i + 1
    return [each for each in found if each]


def members_of(operand: str) -> list[str]:
    """``{%r1, %r2}`` as its members, and anything else as the only one."""
    return operands_of(operand[1:-1]) if operand.startswith("{") else [operand]
