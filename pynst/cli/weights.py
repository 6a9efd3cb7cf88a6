"""``pynst weights``: list, fetch, import, verify and normalise VGG-19 files."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from pynst.cli.parser import Parser
from pynst.cli.signals import Signals
from pynst.cli.terminal import Display, line, path_line, say
from pynst.errors import WeightsError

__all__ = ["add_arguments", "run"]


def add_arguments(parser: Parser) -> None:
    """Fill in the command's parser with the commands of its own."""
    parser.description = "The VGG-19 weights: where from, where to, which."
    parser.command("list", "the published files, and what is in use")
    fetch = parser.command("fetch", "download, verify and keep them in the cache")
    fetch.option("--source", metavar="NAME", help="one of those that are listed")
    take = parser.command("import", "read a file of any known format, and keep it in the cache")
    verify = parser.command("verify", "say what a file is, or that it is damaged")
    normalise = parser.command(
        "normalise",
        "each filter's mean activation over photographs: what normalised formulas divide by",
    )
    take.add_argument("FILE")
    take.option("-o", "--output", metavar="PATH", help="default: vgg19.npz in the cache")
    for each in (verify, normalise):
        each.add_argument("FILE", nargs="?", help="default: the file that would be used")
    for each in (take, verify):
        each.option(
            "--training", choices=("oxford", "torchvision"),
            help="whose numbers they are, where a file does not tell",
        )  # fmt: skip
    normalise.option(
        "--calibration", metavar="PATH", help="folder of photographs; default: the package's"
    )


def run(given: argparse.Namespace, _signals: Signals) -> int:
    """Run the command; returns the exit code."""
    name = given.command[1]
    if name == "list":
        _list()
    elif name == "fetch":
        _fetch(given.source)
    elif name == "import":
        _import(given.FILE, given.output, given.training)
    elif name == "normalise":
        _normalise(given.FILE, given.calibration)
    else:
        line(_verified(given.FILE, given.training))
    return 0


def _list() -> None:
    from pynst.weights import find_weights, list_sources

    for source in list_sources():
        by_name = "" if source.automatic else "; only with --source"
        line(f"{source.name}: {source.title}, at most {source.megabytes} MB{by_name}")
        line(f"training: {source.training}; licence: {source.licence}", "  ")
        line(source.checksum, "  ")
        if source.package:
            line(f"{source.file}, of the package {source.package} in the package registry", "  ")
        for url in source.urls:
            line(url, "  ")
    try:
        path = find_weights()
    except WeightsError as error:
        line(f"in use: none ({error})")
    else:
        line(f"in use: {path or 'none; the built-in filters stand in'}")


def _fetch(source: str | None) -> None:
    from pynst.weights import fetch_weights, verify_weights

    progress = _Download()
    try:
        path = fetch_weights(source=source, progress=progress)
    finally:
        progress.close()
    say(verify_weights(path))
    path_line(path)


def _import(file: str, output: str | None, training: str | None) -> None:
    from pynst.weights import import_weights, verify_weights

    path = import_weights(file, training=training, output=output)
    say(verify_weights(path))
    path_line(path)


def _verified(file: str | None, training: str | None) -> str:
    """What a weights file is, in a sentence."""
    from pynst.weights import verify_weights

    return str(verify_weights(_found(file), training=training))


def _normalise(file: str | None, folder: str | None) -> None:
    """One line per layer and pooling: the means, and how many are raised to the least."""
    import numpy as np

    from pynst.backends import open_backend
    from pynst.networks.calibration import calibration_pictures, clamped, mean_activations
    from pynst.networks.vgg19 import VGG19
    from pynst.weights import load_weights

    weights = load_weights(_found(file))
    pictures = calibration_pictures(folder)
    backend = open_backend("cpu")
    line(f"{weights.source}, training: {weights.training}; photographs: {len(pictures) // 2}")
    for pooling in ("average", "max"):
        network = VGG19(backend, weights.convolutions, weights.mean, pooling=pooling)
        layers = [*network.style_layers, *network.content_layers]
        for layer, means in mean_activations(network, layers, pictures).items():
            raised = int(np.sum(clamped(means) > means))
            low, middle, high = means.min(), np.median(means), means.max()
            line(
                f"{pooling} pooling, {layer}: mean activation {low:.3g} to {high:.3g}, median"
                f" {middle:.3g}; {raised} of {len(means)} raised to a tenth of it"
            )


def _found(file: str | None) -> str | Path:
    """The file that was named, or the one that would be used."""
    from pynst.weights import find_weights

    path = file or find_weights()
    if path is None:
        raise WeightsError(
            'there are no weights: name a FILE, or get them with "pynst weights fetch"'
        )
    return path


class _Download:
    """The progress of a download: one updating line, or one per tenth."""

    def __init__(self) -> None:
        self._display = Display(quiet=False)
        self._terminal = sys.stderr.isatty()
        self._last, self._tenth = 0.0, -1

    def __call__(self, title: str, received: int, total: int | None) -> None:
        """Show how far it is."""
        tenth = 10 * received // total if total else received // 10_000_000
        now = time.monotonic()
        is_due = now - self._last >= 0.1 if self._terminal else tenth != self._tenth
        if is_due or (self._terminal and received == total):
            self._last, self._tenth = now, tenth
            of = f" of {total / 1e6:.0f}" if total else ""
            self._display.update(f"pynst: {title}: {received / 1e6:.1f}{of} MB")

    def close(self) -> None:
        """End the updating line."""
        self._display.close()
