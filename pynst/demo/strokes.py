"""Impasto brush strokes: a table of strokes in, a lit painting out.

Points are strewn over a part of the picture; at each a stroke follows the direction field of that
part. A stroke is a short bent capsule with bristle marks. It lays colour and paint thickness over
what lies below; at the end a lamp from the upper left makes the thickness visible.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

import numpy as np

from pynst.demo.canvas import Array, Grid, smoothstep

__all__ = [
    "LENGTH",
    "WIDTH",
    "Field",
    "Strokes",
    "accent",
    "follow",
    "join",
    "paint",
    "palette",
    "ramp",
    "strew",
]

BATCH, BATCH_SAMPLES = 64, 1 << 17  # strokes and samples evaluated together: fits the cache
THICKNESS = 0.30  # height of the paint in units of the width of its stroke


LENGTH = 0.054  # of an ordinary stroke, in units of the picture height
WIDTH = 0.0152

Generator = np.random.Generator
Field = Callable[[Array, Array], Array]
"""A function of the points (x, y): the direction of the brush there, in radians."""


@dataclass(frozen=True)
class Strokes:
    """A table of n strokes, painted in this order. Lengths are in units of the picture height.

    Attributes
    ----------
    x, y : (n,) arrays
        Centre.
    angle : (n,) array
        Direction at the centre in radians, clockwise from the x axis (y points down).
    bend : (n,) array
        Curvature: radians of turn per unit of length.
    length, width : (n,) arrays
        Size of the stroke.
    color : (n, 3) array
        sRGB in [0, 1].
    """

    x: Array
    y: Array
    angle: Array
    bend: Array
    length: Array
    width: Array
    color: Array

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: slice | Array) -> Strokes:
        return Strokes(*(getattr(self, field.name)[index] for field in fields(self)))


def join(*groups: Strokes) -> Strokes:
    """Put tables one after the other: later groups are painted over earlier ones."""
    columns = ([getattr(g, field.name) for g in groups] for field in fields(Strokes))
    return Strokes(*(np.concatenate(c).astype(np.float32) for c in columns))


def palette(*colors: str) -> Array:
    """Turn hexadecimal colours into an (n, 3) array in [0, 1]."""
    return np.array([list(bytes.fromhex(c)) for c in colors], np.float32) / 255


def ramp(colors: Array, value: Array) -> Array:
    """Look up colours at `value` in [0, 1] along the ramp."""
    position = np.clip(value, 0, 1) * (len(colors) - 1)
    index = np.minimum(position.astype(np.int64), len(colors) - 2)
    t = (position - index)[:, None]
    return np.asarray(colors[index] * (1 - t) + colors[index + 1] * t, dtype=np.float32)


def strew(rng: Generator, box: tuple[float, float, float, float], gap: float) -> Array:
    """Strew points irregularly over (left, top, right, bottom), `gap` widths apart: (2, n)."""
    spacing = gap * WIDTH
    left, top, right, bottom = box
    x, y = np.meshgrid(np.arange(left, right, spacing), np.arange(top, bottom, spacing))
    points = np.stack([x.ravel(), y.ravel()])
    points += rng.uniform(0, spacing, points.shape)
    return np.asarray(rng.permutation(points, axis=1), dtype=np.float32)


def follow(
    rng: Generator, x: Array, y: Array, angle: Field, color: Array, size: float = 1.0
) -> Strokes:
    """Lay a stroke at each point along the field `angle`, each a little different."""
    n, ahead = len(x), 0.25 * LENGTH * size
    here = angle(x, y)
    turn = angle(x + ahead * np.cos(here), y + ahead * np.sin(here)) - here
    bend = (turn + np.pi) % (2 * np.pi) - np.pi
    # Strokes of a part may be painted in any order: alike directions together fit small boxes.
    order = np.argsort((here * 8 / np.pi).astype(np.int64) % 8, kind="stable")
    jitter = rng.normal(0, 0.035, (n, 1)) + rng.normal(0, 0.018, (n, 3))
    strokes = Strokes(
        x=x,
        y=y,
        angle=here + rng.normal(0, 0.07, n),
        bend=np.clip(bend / ahead, -45, 45),
        length=LENGTH * size * rng.uniform(0.75, 1.25, n),
        width=WIDTH * size**0.7 * rng.uniform(0.75, 1.25, n),
        color=np.clip(color + jitter, 0, 1),
    )
    return strokes[order]


def accent(rng: Generator, color: Array, accents: Array, share: float) -> Array:
    """Replace a share of the colours by accents."""
    chosen = rng.random(len(color)) < share
    picks = accents[rng.integers(0, len(accents), len(color))]
    return np.asarray(np.where(chosen[:, None], 0.35 * color + 0.65 * picks, color))


def paint(strokes: Strokes, ground: Array, grid: Grid, rng: Generator) -> Array:
    """Paint the strokes over a ground colour (3,) and light the result: (H, W, 3) in [0, 1]."""
    H, W = len(grid.y), len(grid.x)
    margin = max(_reach(strokes, grid.step))
    board = np.empty((H + 2 * margin, W + 2 * margin, 4), np.float32)  # red, green, blue, height
    board[...] = (*ground, 0)
    phases = rng.uniform(0, 2 * np.pi, (len(strokes), 3)).astype(np.float32)
    origin = (grid.x[0] - margin * grid.step, grid.y[0] - margin * grid.step)
    for rows, columns, layer, cover in _render(strokes, phases, origin, grid.step):
        h, w = layer.shape[1:3]
        for row, column, top, alpha in zip(rows, columns, layer, cover, strict=True):
            if 0 <= row <= board.shape[0] - h and 0 <= column <= board.shape[1] - w:
                below = board[row : row + h, column : column + w]
                below += (top - below) * alpha
    inner = board[margin : margin + H, margin : margin + W]
    return _light(inner[..., :3], inner[..., 3], grid.step)


def _reach(strokes: Strokes, step: float) -> tuple[int, int]:
    """Return how many samples the strokes extend from their centres: down and right, at most."""
    half = strokes.length / 2
    across = np.abs(strokes.bend) * half**2 / 2 + strokes.width * 0.55
    cos, sin = np.abs(np.cos(strokes.angle)), np.abs(np.sin(strokes.angle))
    down, right = half * sin + across * cos, half * cos + across * sin
    return int(down.max() / step) + 2, int(right.max() / step) + 2


def _render(
    strokes: Strokes, phases: Array, origin: tuple[float, float], step: float
) -> Iterator[tuple[list[int], list[int], Array, Array]]:
    """Yield batches of boxes: their corners, (n, h, w, 4) layers, (n, h, w, 1) covers."""
    start = 0
    while start < len(strokes):
        down, right = _reach(strokes[start : start + BATCH], step)
        count = min(BATCH, max(1, BATCH_SAMPLES // (4 * down * right)))
        batch, phase = strokes[start : start + count], phases[start : start + count]
        down, right = _reach(batch, step)
        column = np.rint((batch.x - origin[0]) / step).astype(np.int64) - right
        row = np.rint((batch.y - origin[1]) / step).astype(np.int64) - down
        left, top = origin[0] + column * step - batch.x, origin[1] + row * step - batch.y
        dx = left[:, None, None] + np.arange(2 * right + 1) * step
        dy = top[:, None, None] + np.arange(2 * down + 1)[:, None] * step
        layer, cover = _stroke(batch, phase, dx.astype(np.float32), dy.astype(np.float32), step)
        yield row.tolist(), column.tolist(), layer, cover[..., None]
        start += count


def _stroke(b: Strokes, phase: Array, dx: Array, dy: Array, step: float) -> tuple[Array, Array]:
    """Evaluate strokes at the offsets (dx, dy) from their centres: colour and height, cover."""

    def column(values: Array) -> Array:
        return values.astype(np.float32)[:, None, None]

    cos, sin = column(np.cos(b.angle)), column(np.sin(b.angle))
    half, radius = column(b.length / 2), column(b.width / 2)
    along = dx * cos + dy * sin
    across = dy * cos - dx * sin - column(b.bend / 2) * along * along
    s, t = along / half, across / radius  # both -1..1 within the stroke
    bristle = np.sin(t * 4 + column(phase[:, 0])) + np.sin(t * 9 + s + column(phase[:, 1]))
    beyond = np.maximum(np.abs(along) - (half - radius), 0)
    # The end of the stroke frays: each bristle leaves the canvas at its own point.
    beyond += np.maximum(s, 0) * (1 + 0.5 * bristle) * (0.35 * radius)
    distance = np.sqrt(beyond * beyond + across * across)
    cover = np.clip(0.5 + (radius - distance) / np.float32(step), 0, 1)
    layer = np.empty((*distance.shape, 4), np.float32)
    tone = 1 + 0.07 * bristle + column(0.05 * np.cos(phase[:, 2])) * s
    np.multiply(b.color[:, None, None, :], tone[..., None], out=layer[..., :3])
    ridge = 1 - 0.65 * np.minimum(t * t, 1.2) + 0.16 * bristle + 0.2 * s
    layer[..., 3] = ridge * radius * column(0.75 + 0.35 * np.sin(phase[:, 2]))
    return layer, cover


def _light(color: Array, height: Array, step: float) -> Array:
    """Shade paint of the given height map with a lamp at the upper left, with a soft gloss."""
    scale = np.float32(2 * THICKNESS)
    down, right = np.gradient(height * scale, np.float32(step))
    norm = 1 / np.sqrt(1 + down * down + right * right)
    lamp = np.array([-0.45, -0.6, 0.66], np.float32)
    diffuse = (lamp[2] - lamp[0] * right - lamp[1] * down) * norm
    halfway = lamp + np.array([0, 0, 1], np.float32)
    halfway /= np.linalg.norm(halfway)
    gloss = np.maximum((halfway[2] - halfway[0] * right - halfway[1] * down) * norm, 0) ** 24
    # A flat patch keeps its colour: shading is relative to what it reflects.
    shade = 1 + 0.65 * (diffuse - lamp[2])
    flat = halfway[2] ** 24
    light = color * shade[..., None] + (0.20 * smoothstep(flat, 1.0, gloss))[..., None]
    return np.asarray(np.clip(light, 0, 1))
