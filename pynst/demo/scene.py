"""The content picture of the demonstration: an old town on a river in the evening sun.

The town is built in space and seen through a camera, once directly and once mirrored: ripples then
break the mirror image into the water.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from pynst.demo.canvas import Array, Noise, average, check_size, make_grid, mix, smoothstep
from pynst.demo.town import (
    House,
    draw_boat,
    draw_bridge,
    draw_house,
    draw_lamp,
    draw_tower,
    draw_tree,
    grass,
    stone,
)
from pynst.demo.view import BEND, EYE, HORIZON, LENS, VANISH, View, color, develop, sample

__all__ = ["draw_scene"]

SUN = (0.950, 0.215)  # x in the picture, height above the horizon
QUAY = 2.1  # height of the quay above the water
RIVER = 25.0  # width of the river
BRIDGE = 66.0  # distance of the bridge
CLOUDS, WAVES, WOODS = Noise(3), Noise(4), Noise(5)

# height, unevenness, colour and share of haze of the ranges of hills, far to near
RANGES = (
    (0.060, 0.050, "5a6c84", 0.70),
    (0.040, 0.040, "44584a", 0.45),
    (0.022, 0.030, "38482c", 0.25),
)
WALLS = ("d4c8aa", "c49a66", "b06a50", "d6ccb8", "a0aa98", "c2a684", "b48a84", "c8ac78", "8e9cae")
ROOFS = ("9a4a30", "84402c", "a85c38", "6e4a40", "5c5654")
SHUTTERS = ("3c5a48", "6a3a2c", "34506a", "7a6a40", "50303a")


def draw_scene(width: int = 512, height: int = 384) -> NDArray[np.uint8]:
    """Draw the content picture: houses, trees, a bridge and a tower reflected in a river.

    Parameters
    ----------
    width, height : int
        Size in pixels, 32 to 4096 each. The composition is 4:3; other shapes show its middle.

    Returns
    -------
    (H, W, 3) uint8 array
        sRGB. Equal sizes give equal pictures.

    Raises
    ------
    ImageError
        The size is not an integer within the bounds.
    """
    check_size("draw_scene", width, height)
    grid = make_grid(width, height)
    mirrored, view = View(grid, mirrored=True), View(grid, mirrored=False)
    for each in (mirrored, view):
        _sky(each)
        _hills(each)
        if each is view:
            _water(each, mirrored.light)
        _town(each)
    return average(develop(view.light), grid.factor)


# --- far away -----------------------------------------------------------------------------------


def _rows(view: View, lowest: float, highest: float) -> tuple[slice, Array]:
    """Return the rows between two heights above the horizon, and their heights (h, 1)."""
    inside = np.flatnonzero((view.up[:, 0] >= lowest) & (view.up[:, 0] <= highest))
    rows = slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0)
    return rows, view.up[rows]


def _sky(view: View) -> None:
    """Fill the picture with an evening sky: a gradient, the glow of the sun, clouds."""
    rows, up = _rows(view, -0.02, 2.0)
    x = view.x
    away = np.hypot(x - np.float32(SUN[0]), 1.15 * (up - np.float32(SUN[1])))
    high = smoothstep(-0.02, 0.66, up + 0.16 * (1.0 - x))
    sky = mix(color("b8d0e4") * 0.95, color("2a62b0") * 0.72, high)
    warm = np.exp(-(away**1.3) * 7.0)
    sky = mix(sky, color("ffc476") * 1.5, 0.9 * warm)
    sky = mix(sky, color("ff9a58") * 1.2, 0.55 * np.exp(-up * 12) * np.exp(-away * 1.3))
    sky += (1.5 * np.exp(-away * 10.0))[..., None] * color("ffdca0")
    cover, lit = _clouds(x, up)
    cloud = mix(color("5a74a4") * 0.75, color("fff0e0") * 1.5, lit)
    cloud = mix(cloud, color("ff9c50") * 1.7, 0.9 * np.exp(-away * 3.4) * (0.4 + 0.6 * lit))
    sky = mix(sky, cloud, cover)
    disc = (smoothstep(0.026, 0.010, away) + 0.10 * np.exp(-away * 20)) * (1 - 0.45 * cover)
    view.light[rows] = sky + (14.0 * disc)[..., None] * color("ffe2b0")


def _clouds(x: Array, up: Array) -> tuple[Array, Array]:
    """Return how much clouds cover the sky and how brightly they are lit, both (h, W)."""
    flat = 1 / (up + np.float32(0.30))  # clouds lie in a plane: denser towards the horizon
    p, q = (x - np.float32(0.7)) * flat * 1.15 + 3.3, flat * 1.9 + 0 * x

    def thickness(p: Array, q: Array, octaves: int) -> Array:
        bend = CLOUDS(1.6 * p + 40, 1.6 * q)
        heaps = CLOUDS.fractal(p + 0.22 * bend, q + 0.18 * bend, octaves, 0.5)
        puffs = 0.25 - np.abs(CLOUDS.fractal(3.6 * p + 9, 3.6 * q, octaves - 1, 0.5))
        return heaps + 0.42 * puffs

    thick, thicker = thickness(p, q, 6), thickness(p + 0.10, q + 0.10, 4)
    cover = smoothstep(0.06, 0.22, thick) * smoothstep(-0.01, 0.06, up)
    lit = np.clip(0.88 + 1.6 * (thick - thicker) - 1.9 * np.maximum(thick - 0.12, 0), 0, 1)
    return 0.96 * cover, lit


def _hills(view: View) -> None:
    """Draw three ranges of wooded hills, the farthest nearly lost in the haze."""
    rows, up = _rows(view, -0.02, 0.14)
    x = view.x
    for level, (base, tall, tint, far) in enumerate(RANGES):
        ridge = base + tall * WOODS.fractal(2.2 * x + 30 * level, 0 * x + 3.5, 3)
        ridge += 0.006 * WOODS.fractal(60 * x, 0 * x + 9.1 * level, 3)
        solid = smoothstep(-0.0015, 0.0015, ridge - up)
        wood = 0.75 + 0.9 * WOODS.fractal(45 * x, 70 * up + 20 * level, 4, 0.6)
        tinted = color(tint) * (wood * (1 + 0.5 * (x - 0.7)))[..., None]
        view.light[rows] = mix(view.light[rows], tinted * (1 - far) + far * view.haze, solid)


def _water(view: View, mirrored: Array) -> None:
    """Lay the water below the horizon: the mirror image broken by ripples, over a green depth."""
    grid = view.grid
    first = int(np.searchsorted(grid.y, HORIZON))
    if first == len(grid.y):
        return
    below = (grid.y[first:] - np.float32(HORIZON))[:, None]
    Y = np.float32(LENS * EYE) / np.maximum(below, 1e-3)
    X = (view.x - np.float32(VANISH)) * Y / np.float32(LENS)
    near = smoothstep(0.0, 0.30, below)
    ripple = WAVES.fractal(1.1 * X, 2.6 * Y, 5, 0.6)
    swell = WAVES.fractal(0.25 * X + 50, 0.75 * Y, 3)
    calm = smoothstep(-0.25, 0.35, WAVES.fractal(0.05 * X + 20, 0.11 * Y + 7, 3))
    slope = (ripple * (0.45 + 0.8 * calm) + 0.6 * swell) * (0.10 + 0.90 * near)
    columns = (np.arange(len(grid.x)) + (0.010 * slope / grid.step)).astype(np.float32)
    rows = np.arange(first, len(grid.y))[:, None] + (0.14 * slope / grid.step).astype(np.float32)
    image = sample(mirrored, columns, np.maximum(rows, first))
    facing = np.clip(below / np.float32(LENS) * (1 - 0.9 * slope), 0, 1)
    shine = 0.30 + 0.66 * (1 - facing) ** 4
    deep = color("1c3a34") * 0.55 + 0.25 * color("48604a") * np.clip(0.5 + slope, 0, 1)[..., None]
    view.light[first:] = mix(deep.astype(np.float32), image, shine)


# --- town ---------------------------------------------------------------------------------------


def _bank(Y: float) -> Array:
    """Return the point of the left bank at the distance Y, on the water."""
    return np.array([-9.0 + BEND * Y * Y, Y, 0.0])


def _along(Y: float) -> Array:
    """Return the direction of the bank there."""
    direction = np.array([2 * BEND * Y, 1.0, 0.0])
    return np.asarray(direction / np.linalg.norm(direction))


def _town(view: View) -> None:
    """Draw the town from far to near."""
    rng = np.random.default_rng(1477)
    left, right = _row(rng, 12.5, 165.0), _row(rng, 82.0, 165.0)
    _shores(view)
    draw_tower(view, np.array([29.5, 92.0, QUAY]), 7.4, 26.5, 13.5)
    for Y, house in reversed(right):
        along = -_along(Y)
        across = np.array([RIVER + 5.0, 0.0, QUAY])
        draw_house(view, _bank(Y) + across - house.width * along, along, house)
    far = [item for item in left if item[0] > BRIDGE]
    near = [item for item in left if item[0] <= BRIDGE]
    _houses(view, far)
    _trees(view, rng, BRIDGE, 150.0)
    draw_bridge(view, _bank(BRIDGE)[0] - 1, _bank(BRIDGE)[0] + RIVER + 1.5, BRIDGE, 5.2)
    _houses(view, near)
    _trees(view, rng, 0.0, BRIDGE)
    for Y in (58.0, 47.0, 37.5, 29.0, 22.0):
        draw_lamp(view, _bank(Y) + np.array([-0.7, 0.0, QUAY]))
    _boats(view)


def _row(rng: np.random.Generator, start: float, stop: float) -> list[tuple[float, House]]:
    """Build a row of houses, near to far: distances and houses."""
    row: list[tuple[float, House]] = []
    Y = start
    while stop > Y:
        gable = bool(rng.random() < 0.6)
        width = rng.uniform(5.5, 7.5) if gable else rng.uniform(7.0, 10.0)
        house = House(
            width=width,
            depth=rng.uniform(9.0, 11.0),
            height=rng.choice([6.2, 8.8, 9.4, 11.6]) + rng.uniform(0, 0.6),
            rise=rng.uniform(0.55, 0.75) * width if gable else rng.uniform(3.6, 4.8),
            gable=gable,
            wall=color(WALLS[rng.integers(len(WALLS))]),
            roof=color(ROOFS[rng.integers(len(ROOFS))]),
            shutter=color(SHUTTERS[rng.integers(len(SHUTTERS))]),
            timber=bool(rng.random() < 0.35),
            seed=int(rng.integers(1, 200)),
        )
        row.append((Y, house))
        Y += width + 0.15
    return row


def _houses(view: View, row: list[tuple[float, House]]) -> None:
    for Y, house in reversed(row):
        setback = np.array([-4.5 - 0.8 * (house.seed % 3), 0.0, QUAY])
        draw_house(view, _bank(Y) + setback, _along(Y), house)


def _boats(view: View) -> None:
    for X, Y, turn, hull in ((-4.2, 27.0, 1.25, "2c5c8c"), (1.2, 20.5, 0.30, "a83428")):
        draw_boat(view, np.array([X, Y, 0.0]), turn, color(hull))


def _shores(view: View) -> None:
    """Draw both banks piece by piece: the quay wall and its pavement, the meadow opposite."""
    up, X = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    wall, pavement = stone(color("a89878"), 4, damp=0.9), stone(color("b0a490"), 6)
    ends = [8.0, 14, 20, 27, 35, 45, 57, 70, 85, 102, 122, 145, 170, 200, 240]
    for near, far in reversed(list(pairwise(ends))):
        start, piece = _bank(near), _bank(far) - _bank(near)
        long = float(np.linalg.norm(piece))
        U = piece / long
        long += 0.4  # the pieces overlap, lest their soft edges leave seams
        meadow = start + RIVER * X
        across = np.array([U[1], -U[0], 0.0])
        tilt = across * 0.92 + up * 0.39
        for corner, sideways, wide, material in (
            (meadow + 6 * tilt, across, 90.0, grass),
            (meadow, tilt, 6.0, grass),
            (start + QUAY * up - 12 * across, across, 12.0, pavement),
        ):
            strip = [(0.0, 0.0), (wide, 0.0), (wide, long), (0.0, long)]
            view.figure(corner, sideways, U, strip, material)
        view.figure(start, U, up, [(0, 0), (long, 0), (long, QUAY), (0, QUAY)], wall)


def _trees(view: View, rng: np.random.Generator, near: float, far: float) -> None:
    """Plant trees on the right bank and a few on the quay, between two distances."""
    spots = []
    for Y in (140.0, 120.0, 104.0, 76.0, 62.0, 55.0, 49.0, 43.5, 38.0, 34.0, 31.0):
        spots.append((Y, RIVER + rng.uniform(3.0, 8.0), rng.uniform(9, 15), rng.uniform(8, 11)))
    for Y in (130.0, 98.0, 80.0, 52.0, 33.0):
        spots.append((Y, -2.2, rng.uniform(5.5, 7.5), rng.uniform(4, 5)))
    hues = (("141e0c", "8a9638"), ("1a2410", "a08a38"), ("101e12", "6c8840"))
    for number, (Y, across, height, width) in enumerate(sorted(spots, reverse=True)):
        if near < Y <= far:
            foot = _bank(Y) + np.array([across, 0.0, QUAY - 0.2])
            draw_tree(view, foot, height, width, 17 * number, hues[number % 3])
