"""The networks that read features of an image: VGG-19 and the built-in filters.

`network` says what the objective asks of a network, `open` picks and opens one; `layers` says which
of its layers a run reads; `plan` places its memory; `calibration` measures mean activations.
"""

from __future__ import annotations

from pynst.networks.network import Network
from pynst.networks.open import open_network

__all__ = ["Network", "open_network"]
