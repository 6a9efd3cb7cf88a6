"""How a 3x3 convolution on CUDA is divided among blocks: the tile of a block, and the parts.

A block computes a tile of pixels and output channels. Where the tiles are too few to keep the
device busy, the input channels are cut into parts, whose sums are added in order: by the blocks of
a tile themselves, as a cluster, or, on devices that have no clusters, by a second kernel. Every
division is right. It decides the speed, and through the parts the last bits of the sums: so it is
chosen by a model of one device, an H200, whatever device there is, unless `pynst.backends.tuning`
has measured. The figures of the model are published ones and estimates, not measurements.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["Division", "Divisions", "Product", "Tile"]

_MULTIPROCESSORS = 132
_CLOCK = 1.755e9  # Hz
# Cycles in which a scheduler multiplies 16 x 16 by 16 x 8: on tensor cores at 65 % of their peak,
# which is what mma.sync reaches on Hopper; three products for a split one; 32 lanes for plain ones.
_CYCLES = {"split": 18.5, "simt": 64.0}
_CYCLES_OF_HALVES = 6.15
_BUSY, _ALONE = 0.9, 0.8  # share of that rate with two warps for each scheduler, and with one
_EDGE = 3000  # cycles before the first product and after the last one of a block
_EDGE_SHARED = 0.65  # share of them that remains where another block computes meanwhile
_TRAFFIC = 5.5e12  # bytes/s from the L2 cache
_EXCHANGE = 2.6e12  # bytes/s at which the blocks of a cluster read each other's sums
_BARRIERS = 1.0e-6  # s, in which they wait for each other
# A cluster lies within a group of multiprocessors. Groups of 18 are counted as if they had 16.
_GROUPS, _OF_GROUP = 8, 16
_CHUNK = 16  # input channels that are multiplied at a time
_LEAST_PART = 32  # input channels of a part
_TILE_WIDTH = 16
_WARP_CHANNELS = 32
_HALVES = ("large", "narrow", "flat")
_AS_FAST = 1.03
_LARGEST = 2**16  # channels, or pixels along a side, of what a record may name


class Tile(NamedTuple):
    """The tile of a block, as the core has it.

    Attributes
    ----------
    height, channels : int
        Rows of 16 pixels, and output channels.
    warps : int
        Warps of a block.
    resident : int
        Blocks that share a multiprocessor.
    """

    height: int
    channels: int
    warps: int
    resident: int


class Product(NamedTuple):
    """Sizes of one convolution: C channels go in, N come out, over H x W pixels.

    The way back goes from a layer's N channels to its C.
    """

    C: int
    N: int
    H: int
    W: int


class Division(NamedTuple):
    """The tile by name, and the number of parts of the input channels."""

    tile: str
    parts: int


class Divisions:
    """The divisions that a kernel allows, and the one that the model finds fastest.

    Parameters
    ----------
    tiles : mapping of str to Tile
        The tiles of the kernel.
    most_parts : int
    """

    def __init__(self, tiles: Mapping[str, Any], most_parts: int) -> None:
        self._tiles = {name: Tile(*sizes) for name, sizes in tiles.items()}
        self._most_parts = most_parts
        self._usual: dict[Product, Division] = {}

    def usual(self, product: Product) -> Division:
        """The division that the model finds fastest.

        The model is not exact to a few percent. Among divisions that are so close to the fastest
        one, the one that moves the fewest bytes is taken.
        """
        if product not in self._usual:
            seconds = {each: self.seconds(product, each) for each in self.candidates(product)}
            limit = _AS_FAST * min(seconds.values())
            close = [each for each in seconds if seconds[each] <= limit]
            self._usual[product] = min(close, key=lambda each: self.nbytes(product, each))
        return self._usual[product]

    def candidates(self, product: Product) -> list[Division]:
        """All divisions that may be worth trying, those with fewer parts first.

        Parts are used only up to one block for each multiprocessor that clusters of so many blocks
        can fill: more of them would double what is exchanged, and multiply no faster.
        """
        found = []
        for parts in range(1, self._most_parts + 1):
            for name, tile in self._tiles.items():
                blocks = parts * _tiles(product, tile)
                exact = _ceil_div(product.C, _part_channels(product.C, parts)) == parts
                if parts == 1 or (exact and blocks <= _GROUPS * (_OF_GROUP // parts) * parts):
                    found.append(Division(name, parts))
        return found

    def check(self, product: Product, division: Division) -> None:
        """Raise ValueError unless the kernel can do a convolution of this division."""
        if division.tile not in self._tiles or not 1 <= division.parts <= self._most_parts:
            raise ValueError(f"{division.tile} x {division.parts} is no division of this kernel")
        if min(product) < 1 or max(product) > _LARGEST:
            raise ValueError(f"sizes must be 1 to {_LARGEST}, got {tuple(product)}")

    def seconds(self, product: Product, division: Division) -> float:
        """How long the convolution takes, in seconds, by the model."""
        tile = self._tiles[division.tile]
        blocks = division.parts * _tiles(product, tile)
        shared = min(tile.resident, _ceil_div(blocks, _MULTIPROCESSORS))
        waves = _ceil_div(blocks, _MULTIPROCESSORS * tile.resident)
        warps = tile.warps * shared / 4  # of one of the four schedulers of a multiprocessor
        rows = tile.height * tile.channels // (tile.warps * _WARP_CHANNELS)
        chunks = _ceil_div(_part_channels(product.C, division.parts), _CHUNK)
        products = chunks * 9 * rows * (_WARP_CHANNELS // 8) * warps
        cycles = products * _CYCLES.get(division.tile, _CYCLES_OF_HALVES)
        cycles /= _BUSY if warps > 1 else _ALONE
        cycles += _EDGE * (_EDGE_SHARED if shared > 1 else 1)
        traffic = self._reads_nbytes(product, division) / _TRAFFIC
        adding = self._sums_nbytes(product, division) / _EXCHANGE + _BARRIERS
        multiplying = max(waves * cycles / _CLOCK, traffic)
        return multiplying + (adding if division.parts > 1 else 0)

    def nbytes(self, product: Product, division: Division) -> int:
        """Bytes that blocks read of input and weights, and of each other's sums."""
        sums = self._sums_nbytes(product, division) if division.parts > 1 else 0
        return self._reads_nbytes(product, division) + sums

    def _reads_nbytes(self, product: Product, division: Division) -> int:
        tile = self._tiles[division.tile]
        pixels, weights = (tile.height + 2) * (_TILE_WIDTH + 2), 9 * tile.channels
        of_value = 2 if division.tile in _HALVES else 4
        return _tiles(product, tile) * product.C * of_value * (pixels + weights)

    def _sums_nbytes(self, product: Product, division: Division) -> int:
        tile = self._tiles[division.tile]
        values = _TILE_WIDTH * tile.height * tile.channels
        return 4 * values * _tiles(product, tile) * division.parts


def _tiles(product: Product, tile: Tile) -> int:
    """Blocks of one part."""
    across, down = _ceil_div(product.W, _TILE_WIDTH), _ceil_div(product.H, tile.height)
    return _ceil_div(product.N, tile.channels) * across * down


def _part_channels(C: int, parts: int) -> int:
    """Input channels of a part, as the core divides them."""
    units = _ceil_div(C, _LEAST_PART)
    return _ceil_div(units, min(parts, units)) * _LEAST_PART


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)
