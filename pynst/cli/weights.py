"""``pynst weights``: list, fetch, import, verify and normalise VGG-19 files."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from pynst.cli.terminal import Signals, say
from pynst.errors import WeightsError

__all__ = ["run"]


def run(words: Sequence[str], _signals: Signals) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="pynst weights", description="The VGG-19 weights: where from, where to, which."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("list", help="the published files, and what is in use")
    fetch = commands.add_parser("fetch", help="download, verify and keep them in the cache")
    fetch.add_argument("--source", metavar="NAME", help="one of those that are listed")
    take = commands.add_parser(
        "import", help="read a file of any known format, and keep it in the cache"
    )
    verify = commands.add_parser("verify", help="say what a file is, or that it is damaged")
    take.add_argument("FILE")
    verify.add_argument("FILE", nargs="?", help="default: the file that would be used")
    take.add_argument("-o", "--output", metavar="PATH", help="default: vgg19.npz in the cache")
    normalise = commands.add_parser(
        "normalise",
        help="each filter's mean activation over photographs: what normalised formulas divide by",
    )
    normalise.add_argument("FILE", nargs="?", help="default: the file that would be used")
    normalise.add_argument(
        "--calibration", metavar="PATH", help="folder of photographs; default: the package's"
    )
    for each in (take, verify):
        each.add_argument(
            "--training", choices=("oxford", "torchvision"),
            help="whose numbers they are, where a file does not tell",
        )  # fmt: skip
    given = parser.parse_args(words)
    if given.command == "list":
        _list()
    elif given.command == "fetch":
        _fetch(given.source)
    elif given.command == "import":
        _import(given.FILE, given.output, given.training)
    elif given.command == "normalise":
        _normalise(given.FILE, given.calibration)
    else:
        _verify(given.FILE, given.training)
    return 0


def _list() -> None:
    from pynst.weights import find_weights, list_sources

    for source in list_sources():
        by_name = "" if source.automatic else "; only with --source"
        print(f"{source.name}: {source.title}, at most {source.megabytes} MB{by_name}")
        print(f"  training: {source.training}; licence: {source.licence}")
        print(f"  {source.checksum}")
        for url in source.urls:
            print(f"  {url}")
    try:
        path = find_weights()
    except WeightsError as error:
        print(f"in use: none ({error})")
    else:
        print(f"in use: {path or 'none; the built-in filters stand in'}")


def _fetch(source: str | None) -> None:
    from pynst.weights import fetch_weights, verify_weights

    progress = _Download()
    try:
        path = fetch_weights(source=source, progress=progress)
    finally:
        progress.close()
    say(verify_weights(path))
    print(path)


def _import(file: str, output: str | None, training: str | None) -> None:
    from pynst.weights import cache_directory, load_weights, save_weights, verify_weights

    weights = load_weights(file, training=training)
    path = Path(output) if output else cache_directory() / "vgg19.npz"
    if output is None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"the cache directory {path.parent} cannot be made: {error.strerror}; name another"
                " one with PYNST_CACHE_DIR"
            ) from error
    save_weights(weights, path)
    say(verify_weights(path))
    print(path)


def _verify(file: str | None, training: str | None) -> None:
    from pynst.weights import verify_weights

    print(verify_weights(_found(file), training=training))


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
    print(f"{weights.source}, training: {weights.training}; photographs: {len(pictures) // 2}")
    for pooling in ("average", "max"):
        network = VGG19(backend, weights.convolutions, weights.mean, pooling=pooling)
        layers = [*network.style_layers, *network.content_layers]
        for layer, means in mean_activations(network, layers, pictures).items():
            raised = int(np.sum(clamped(means) > means))
            low, middle, high = means.min(), np.median(means), means.max()
            print(
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
        self._terminal = sys.stderr.isatty()
        self._last, self._tenth = 0.0, -1

    def __call__(self, title: str, received: int, total: int | None) -> None:
        """Show how far it is."""
        of = f" of {total / 1e6:.0f}" if total else ""
        line = f"pynst: {title}: {received / 1e6:.1f}{of} MB"
        if self._terminal:
            if time.monotonic() - self._last >= 0.1 or received == total:
                self._last = time.monotonic()
                print("\r" + line, end="", file=sys.stderr, flush=True)
            return
        tenth = 10 * received // total if total else received // 10_000_000
        if tenth != self._tenth:
            self._tenth = tenth
            print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the updating line."""
        if self._last:
            print(file=sys.stderr)
