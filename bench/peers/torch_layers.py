"""VGG-19's convolutions by the library behind PyTorch: cuDNN on a device, oneDNN on the CPU.

What is timed is the convolution alone, forward and with respect to its input, channels last. Bias,
ReLU and pooling, which PyNST's ops of the same sizes do too, are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from bench.measure import sample, summary
from bench.problem import CHANNELS

__all__ = ["FORMS", "layers"]

FORMS: dict[str, tuple[torch.dtype, bool]] = {
    "half": (torch.float16, True),
    "tf32": (torch.float32, True),
    "float32": (torch.float32, False),
}
"""By name: the type of the values, and whether products may be computed in TF32."""


def layers(size: int, device: str, forms: Sequence[str], threads: int) -> list[dict[str, Any]]:
    """Time each distinct convolution of a picture of `size` pixels, both ways, in each form."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.benchmark = True
    rows = []
    for form in forms:
        dtype, tf32 = FORMS[form]
        torch.backends.cudnn.allow_tf32 = tf32
        for C, N, side in _distinct(size):
            for way, call in _calls(C, N, side, torch.device(device), dtype):
                ms = summary(_seconds(call, device))
                ms["count"] = len(ms.pop("runs"))
                flops = 18.0 * C * N * side * side
                rows.append(
                    {
                        "C": C, "N": N, "size": side, "way": way, "form": form, "threads": threads,
                        "ms": ms, "gflops": float(f"{flops / ms['median'] / 1e6:.4g}"),
                    }
                )  # fmt: skip
    return rows


def _distinct(size: int) -> Iterator[tuple[int, int, int]]:
    """Input and output channels and side, in pixels, of the layers; each shape once."""
    found = {(*CHANNELS[layer], size >> (int(layer[0]) - 1)): None for layer in CHANNELS}
    yield from found


def _calls(
    C: int, N: int, side: int, device: torch.device, dtype: torch.dtype
) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The convolution and its gradient with respect to the input, on random tensors."""

    def tensor(*shape: int) -> torch.Tensor:
        values = torch.randn(*shape, device=device, dtype=torch.float32).to(dtype)
        return values.contiguous(memory_format=torch.channels_last)

    x, weight, dy = tensor(1, C, side, side), tensor(N, C, 3, 3), tensor(1, N, side, side)
    yield "forward", lambda: torch.nn.functional.conv2d(x, weight, padding=1)
    mask = [True, False, False]
    one, zero = [1, 1], [0, 0]

    def backward() -> Any:
        return torch.ops.aten.convolution_backward(
            dy, x, weight, None, one, one, one, False, zero, 1, mask
        )

    yield "backward", backward


def _seconds(call: Callable[[], Any], device: str) -> list[float]:
    """Seconds of each of several calls."""
    with torch.no_grad():
        if device == "cuda":
            from bench.device import sample_torch

            return sample_torch(call)
        return sample(call, calls=3, seconds=0.1)
