"""A pinhole camera that paints textured, sunlit plane figures, and their mirror images in water.

Space is in metres: X to the right, Y away from the camera, Z up, the water at Z = 0. Light is
linear until `develop` turns it into sRGB.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from pynst.demo.canvas import Array, Grid, Noise, mix, smoothstep

__all__ = ["BEND", "HORIZON", "LENS", "VANISH", "Surface", "View", "color", "develop", "sample"]

HORIZON = 0.535  # y of the horizon in the picture
VANISH = 0.70  # x of the point the camera looks at
LENS = 1.10  # focal length in units of the picture height
EYE = 5.0  # height of the camera above the water
TO_SUN = np.array([0.86, -0.20, 0.27]) / np.linalg.norm([0.86, -0.20, 0.27])
SUNLIGHT = np.array([2.45, 1.62, 0.90], np.float32)
SKYLIGHT = np.array([0.20, 0.26, 0.40], np.float32)
HAZE_DISTANCE = 600.0
TREETOPS = Noise(21)
BEND = 0.0012  # the river turns right: X of its banks grows by BEND Y^2
SCREEN = 23.0  # X, but for the bend, of the row of trees whose shadows cross the river


class Surface(NamedTuple):
    """What a material answers for (h, w) points of a figure.

    Attributes
    ----------
    albedo : (h, w, 3) array
        Reflected share of the light.
    glow : (h, w, 3) array or float
        Light of its own, such as a lit window or a reflection in glass.
    cover : (h, w) array or float
        1 where the figure is solid, 0 where one sees through.
    """

    albedo: Array
    glow: Array | float = 0.0
    cover: Array | float = 1.0


Material = Callable[[Array, Array], Surface]


def color(hexadecimal: str) -> Array:
    """Turn an sRGB colour such as "c8b090" into linear light, (3,)."""
    srgb = np.array(list(bytes.fromhex(hexadecimal)), np.float32) / 255
    return np.asarray(srgb**2.2, dtype=np.float32)


def develop(light: Array, exposure: float = 0.80) -> Array:
    """Turn linear light into sRGB like film: highlights roll off instead of clipping."""
    x = np.maximum(light, 0) * np.float32(exposure)
    film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    return np.asarray(np.clip(film, 0, 1) ** np.float32(1 / 2.2), dtype=np.float32)


def sample(picture: Array, column: Array, row: Array) -> Array:
    """Interpolate a picture at fractional columns and rows, repeating its border."""
    H, W = picture.shape[:2]
    column, row = np.clip(column, 0, W - 1.001), np.clip(row, 0, H - 1.001)
    j, i = column.astype(np.int64), row.astype(np.int64)
    s, t = (column - j)[..., None], (row - i)[..., None]
    flat, k = picture.reshape(-1, 3), i * W + j
    upper = flat[k] * (1 - s) + flat[k + 1] * s
    lower = flat[k + W] * (1 - s) + flat[k + W + 1] * s
    return np.asarray(upper + (lower - upper) * t, dtype=np.float32)


class View:
    """The picture seen by the camera, or by its mirror image below the water.

    Parameters
    ----------
    grid : Grid
        Where to take samples.
    mirrored : bool
        True for what the water reflects.
    """

    def __init__(self, grid: Grid, *, mirrored: bool) -> None:
        self.grid = grid
        self.flip = -1.0 if mirrored else 1.0
        self.eye = np.array([0.0, 0.0, EYE * self.flip])
        self.light = np.zeros((len(grid.y), len(grid.x), 3), np.float32)
        self.x = grid.x[None, :]
        self.up = np.float32(self.flip) * (np.float32(HORIZON) - grid.y)[:, None]
        glow = np.exp(-np.abs(self.x - 1.0) * 2.2)[..., None]
        self.haze = np.asarray(color("8fa4c4") * 0.6 * (1 - glow) + color("ffc890") * 0.9 * glow)

    def project(self, points: Array) -> Array:
        """Map points (n, 3) in space to the picture: (n, 2), x and y."""
        ray = points - self.eye
        x = VANISH + LENS * ray[:, 0] / ray[:, 1]
        y = HORIZON - self.flip * LENS * ray[:, 2] / ray[:, 1]
        return np.stack([x, y], axis=1)

    def figure(
        self,
        origin: Array,
        U: Array,
        V: Array,
        outline: list[tuple[float, float]],
        material: Material,
        shade: float = 1.0,
    ) -> None:
        """Paint a convex figure in the plane origin + u U + v V, over what is there.

        Parameters
        ----------
        origin, U, V : (3,) arrays
            U and V are unit vectors; the figure is seen from the side of U x V only.
        outline : list of (u, v)
            Corners in metres.
        material : function of u, v
            See `Surface`.
        shade : float
            Share of the sunlight that reaches the figure.
        """
        normal = np.cross(U, V)
        if normal @ (self.eye - origin) <= 0:
            return
        corners = self.project(np.array([origin + u * U + v * V for u, v in outline]))
        box = self._box(corners)
        if box is None:
            return
        x, y = self.grid.x[box[1]][None, :], self.grid.y[box[0]][:, None]
        ray = self._rays(x, y)
        # Rays that miss the plane belong to the soft edge beyond the figure: any depth will do.
        towards = np.minimum(_along(ray, normal), np.float32(-1e-6))
        depth = np.clip(np.float32(normal @ (origin - self.eye)) / towards, 0.1, 1e4)
        offset = self.eye - origin
        u, v = (depth * _along(ray, axis) + np.float32(offset @ axis) for axis in (U, V))
        albedo, glow, cover = material(u, v)
        sun: Array = SUNLIGHT * np.float32(max(0.0, float(normal @ TO_SUN)) * shade)
        if sun.any():
            X, Y, Z = (depth * r + np.float32(e) for r, e in zip(ray, self.eye, strict=True))
            sun = sun * _sunny(X, Y, Z)[..., None]
        sky = SKYLIGHT * np.float32(0.75 + 0.25 * normal[2])
        lit = albedo * (sun + sky) + glow
        lit = mix(lit, self.haze[:, box[1]], 1 - np.exp(-depth / np.float32(HAZE_DISTANCE)))
        inside = _coverage(corners, x, y, self.grid.step)
        self.light[box] = mix(self.light[box], lit, inside * cover)

    def _rays(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Return the direction in which the points of the picture lie, one metre away in Y."""
        rise = np.float32(self.flip) * (np.float32(HORIZON) - y) / np.float32(LENS)
        return (x - np.float32(VANISH)) / np.float32(LENS), np.ones((1, 1), np.float32), rise

    def _box(self, corners: Array) -> tuple[slice, slice] | None:
        """Return rows and columns of the samples about the corners, None if outside."""
        spans = []
        for axis, points in ((1, self.grid.y), (0, self.grid.x)):
            low = np.searchsorted(points, corners[:, axis].min() - self.grid.step)
            high = np.searchsorted(points, corners[:, axis].max() + self.grid.step)
            spans.append(slice(int(low), int(high)))
            if low >= high:
                return None
        return spans[0], spans[1]


def _along(ray: tuple[Array, Array, Array], axis: Array) -> Array:
    """Return the component of the rays along an axis (3,)."""
    a, b, c = axis.astype(np.float32)
    return np.asarray(ray[0] * a + ray[1] * b + ray[2] * c)


def _sunny(X: Array, Y: Array, Z: Array) -> Array:
    """Return which points the sun reaches past the trees on the other side of the river."""
    way = (np.float32(SCREEN) + np.float32(BEND) * Y * Y - X) / np.float32(TO_SUN[0])
    Z, Y = Z + way * np.float32(TO_SUN[2]), Y + way * np.float32(TO_SUN[1])
    tops = 12.6 + 5.0 * TREETOPS(0.11 * Y, 0 * Y) + 1.6 * TREETOPS.fractal(0.6 * Y, 0.6 * Z, 3)
    return np.asarray(np.maximum(smoothstep(-0.7, 0.7, Z - tops), way < 8))


def _coverage(corners: Array, x: Array, y: Array, step: float) -> Array:
    """Return 1 inside the convex polygon, 0 outside, with a soft edge of one sample."""
    following = np.roll(corners, -1, axis=0)
    edges = following - corners
    turn = np.sign(np.sum(corners[:, 0] * following[:, 1] - corners[:, 1] * following[:, 0]))
    inside = np.ones(np.broadcast_shapes(x.shape, y.shape), np.float32)
    for (x0, y0), (dx, dy) in zip(corners, edges, strict=True):
        length = max(float(np.hypot(dx, dy)), 1e-9)
        a, b = np.float32(turn * dx / length / step), np.float32(turn * dy / length / step)
        distance = (y - np.float32(y0)) * a - (x - np.float32(x0)) * b
        np.minimum(inside, np.clip(distance + np.float32(0.5), 0, 1), out=inside)
    return inside
