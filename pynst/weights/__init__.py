"""The VGG-19 weights: found, downloaded, read from any known file, verified and saved.

`cache` says where they lie and fetches them, `download` gets one file from a public host,
`vgg19_file` is the file in PyNST's convention, `layouts` brings any other one to it.
"""

from __future__ import annotations

from pynst.weights.cache import cache_directory, fetch_weights, find_weights
from pynst.weights.download import Source, list_sources
from pynst.weights.layouts import VGG19_CONVOLUTIONS
from pynst.weights.vgg19_file import VGG19Weights, load_weights, save_weights, verify_weights

__all__ = [
    "VGG19_CONVOLUTIONS",
    "Source",
    "VGG19Weights",
    "cache_directory",
    "fetch_weights",
    "find_weights",
    "list_sources",
    "load_weights",
    "save_weights",
    "verify_weights",
]
