"""The style picture of the demonstration: a night landscape of some ten thousand brush strokes.

Every part of the picture is a rule that gives, at a point, the direction of the brush and a colour;
strokes are strewn over the part and follow its rule. Parts are painted back to front.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pynst.demo.canvas import ASPECT, Array, Noise, average, check_size, make_grid, smoothstep
from pynst.demo.strokes import (
    LENGTH,
    WIDTH,
    Field,
    Strokes,
    accent,
    follow,
    join,
    paint,
    palette,
    ramp,
    strew,
)

__all__ = ["draw_painting"]

Generator = np.random.Generator

# x, y, radius, spin, arms: the swirls of the sky
SWIRLS = (
    (0.66, 0.30, 0.175, 1.0, 2),
    (0.40, 0.47, 0.105, -1.0, 2),
    (0.93, 0.50, 0.085, -1.0, 1),
    (1.25, 0.30, 0.080, 1.0, 1),
    (0.10, 0.50, 0.075, 1.0, 1),
)
MOON = (0.245, 0.215, 0.150)
# x, y, radius of the outermost halo
STARS = (
    (0.055, 0.075, 0.050),
    (0.475, 0.090, 0.062),
    (0.850, 0.085, 0.052),
    (0.900, 0.330, 0.048),
    (1.240, 0.105, 0.072),
    (0.060, 0.345, 0.040),
    (0.560, 0.505, 0.036),
    (1.270, 0.470, 0.042),
)
# base, height, frequency and phase of the waves, height of lesser waves: the edges of the land
RIDGES = (
    (0.600, 0.045, 5.2, 0.5, 0.018),
    (0.660, 0.040, 4.4, 3.4, 0.014),
    (0.705, 0.030, 6.0, 5.6, 0.005),
    (0.765, 0.025, 3.6, 5.3, 0.003),
)
# x, y, size: the cottages
COTTAGES = ((0.205, 0.735, 1.0), (0.285, 0.752, 1.25), (0.725, 0.722, 0.9))
# x of the foot, y of the tip, half width: the trees, back to front
TREES = ((1.175, 0.36, 0.062), (1.060, 0.02, 0.092))
GROUND = np.array([0.10, 0.11, 0.24], np.float32)

NIGHT = palette("0f1a5c", "14279a", "1f4fc4", "2f86d8", "7cc4dc", "f2ecc4")
DUSK = palette("2456b8", "2f9cc8", "8fd0b0", "f4e49a", "fbc84a", "f79a2e", "ea5f3a")
MOONLIGHT = palette("fffdf0", "fff6c0", "ffe14a", "fdb81c", "f28a1e", "f7d95a", "b8e0d0", "4f9fe0")
FAR_HILLS = palette("202a6e", "2b479c", "3f6fb8", "5a9ab8")
HILLS = palette("0e3340", "14604e", "2a8a58", "7ab648", "cfd04a")
NEAR_HILLS = palette("3a2a10", "14604e", "5a9a3c", "d8c83a", "f2b02c")
WHEAT = palette("7a4a14", "c27a12", "eaa81c", "f9d23c", "fdeb9a")
STREAM = palette("153a9a", "2a7cc8", "7fcfd4", "f4f0cc")
FLAME = palette("06141a", "0b2a26", "12442e", "2a6634", "7a8a34")
EMBERS = palette("6a2a1c", "1d3f7a", "8a6a2a")
CREAM = palette("f4e2b0", "d9b878", "e9cf98")
POPPY = palette("b3121a", "d8261c", "ee4a22")
ACCENTS = palette("5a3aa8", "e8782a", "f4e6b0", "c83a3a")


def draw_painting(width: int = 512, height: int = 384) -> NDArray[np.uint8]:
    """Paint the style picture: a swirling night sky over hills, fields and a flame-like tree.

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
    check_size("draw_painting", width, height)
    grid = make_grid(width, height)
    rng = np.random.default_rng(1889)
    noise = Noise(7)
    parts = (_sky, _halos, _far_hills, _hills, _field, _cottages, _tree)
    strokes = join(*(part(rng, noise) for part in parts))
    return average(paint(strokes, GROUND, grid, rng), grid.factor)


# --- sky -----------------------------------------------------------------------------------------


def _polar(x: Array, y: Array, x0: float, y0: float) -> tuple[Array, Array]:
    """Return the distance and the angle of points seen from (x0, y0)."""
    return np.hypot(x - x0, y - y0) + np.float32(1e-6), np.arctan2(y - y0, x - x0)


def _stream(x: Array, y: Array) -> Array:
    """Return the height of the streamline of the wind: it runs in long waves."""
    return np.asarray(y + 0.05 * np.sin(4.2 * x + 0.6) + 0.022 * np.sin(9.5 * x - 4 * y))


def _wind(x: Array, y: Array) -> Array:
    """Return the direction of the sky: waves, spirals in the swirls, circles about the lights."""
    slope = 0.21 * np.cos(4.2 * x + 0.6) + 0.209 * np.cos(9.5 * x - 4 * y)
    u, v = np.ones_like(x), -slope
    for x0, y0, radius, spin, _ in SWIRLS:
        r, theta = _polar(x, y, x0, y0)
        weight = 5 * np.exp(-((r / radius) ** 2) * 1.2)
        along = theta + spin * (np.pi / 2 - 0.22)  # a little outwards: a spiral
        u, v = u + weight * np.cos(along), v + weight * np.sin(along)
    for x0, y0, radius in (MOON, *STARS):
        r, theta = _polar(x, y, x0, y0)
        weight = 9 * np.exp(-((r / radius) ** 4))
        u, v = u - weight * np.sin(theta), v + weight * np.cos(theta)
    return np.asarray(np.arctan2(v, u))


def _bands(x: Array, y: Array) -> Array:
    """Return light and dark bands in [-1, 1] that run along the wind."""
    free, bands = np.ones_like(x), np.zeros_like(x)
    for x0, y0, radius, spin, arms in SWIRLS:
        r, theta = _polar(x, y, x0, y0)
        weight = np.exp(-((r / radius) ** 4))
        bands += 1.25 * weight * np.sin(arms * (theta - spin * 4.4 * np.log(r / radius)))
        free *= 1 - weight
    return np.asarray(bands + free * np.sin(46 * _stream(x, y)))


def _glow(x: Array, y: Array) -> Array:
    """Return how much moon and stars brighten the sky about them, in rings."""
    total = np.zeros_like(x)
    for x0, y0, radius in (MOON, *STARS):
        r, _ = _polar(x, y, x0, y0)
        rings = 0.34 + 0.22 * np.cos(73 * r / radius**0.5)
        total += rings * np.exp(-((r / radius / 1.35) ** 4))
    return total


def _sky(rng: Generator, noise: Noise) -> Strokes:
    """Strew the sky: blue above, turquoise to orange towards the hills."""
    layers = []
    for gap, size in ((1.5, 1.25), (1.15, 1.0), (1.6, 0.8)):
        x, y = strew(rng, (-0.03, -0.03, ASPECT + 0.03, 0.68), gap)
        tone = 0.43 + 0.36 * _bands(x, y) + 0.25 * noise.fractal(5 * x, 5 * y, 3)
        tone += rng.normal(0, 0.06, len(x)) - 0.15 * smoothstep(0.35, 0.0, y) + _glow(x, y)
        # Each stroke is of the night or of the dusk: blue and orange blended would be grey.
        low = smoothstep(0.34, 0.62, y + 0.07 * noise(5 * x, 5 * y) - 0.05 * _bands(x, y))
        dusk = rng.uniform(0.25, 0.75, len(x)) < low
        color = np.where(dusk[:, None], ramp(DUSK, tone + 0.1), ramp(NIGHT, tone))
        color = accent(rng, color, ACCENTS, 0.015)
        layers.append(follow(rng, x, y, _wind, color, size))
    return join(*layers)


def _halos(rng: Generator, noise: Noise) -> Strokes:
    """Paint moon and stars: rings of dashes from a white core through yellow to the blue."""
    del noise
    rings = []
    for x0, y0, radius in (*STARS, MOON):
        for r in np.arange(0.25 * WIDTH, radius, 0.68 * WIDTH)[::-1]:
            n = max(3, int(2 * np.pi * r / (0.55 * LENGTH * min(1.0, 0.45 + r / 0.08))))
            theta = rng.uniform(0, 2 * np.pi) + np.arange(n) * 2 * np.pi / n
            wobble = r + rng.normal(0, 0.0015, n)
            x, y = x0 + wobble * np.cos(theta), y0 + wobble * np.sin(theta)
            tone = np.full(n, (r / radius) ** 0.9) + rng.normal(0, 0.05, n)
            keep = rng.random(n) > 0.8 * (r / radius) ** 2
            color = ramp(MOONLIGHT, tone)[keep]
            size = min(1.0, 0.55 + r / 0.1)
            rings.append(follow(rng, x[keep], y[keep], _wind, color, size))
    return join(*rings)


# --- land ----------------------------------------------------------------------------------------


def _ridge(level: int, x: Array) -> Array:
    """Return the y of the upper edge of the hills: 0 far, 1 and 2 nearer, 3 the field."""
    base, tall, pitch, phase, small = RIDGES[level]
    return np.asarray(base - tall * np.sin(pitch * x + phase) - small * np.sin(10 * x + phase))


def _roll(level: int) -> Field:
    """Return the direction of the brush on a hill: along its edge, rolling over below it."""

    def angle(x: Array, y: Array) -> Array:
        slope = (_ridge(level, x + 0.01) - _ridge(level, x - 0.01)) / 0.02
        depth = y - _ridge(level, x)
        return np.asarray(np.arctan(1.1 * slope) + 5.0 * depth * np.sin(8 * x + 2 * level))

    return angle


def _slopes(rng: Generator, noise: Noise, level: int, colors: Array, size: float) -> Strokes:
    """Cover one range of hills down to the next with bands parallel to its edge."""
    layers = []
    for gap in (1.25, 1.25):
        x, y = strew(rng, (-0.03, 0.50, ASPECT + 0.03, 0.86), gap)
        inside = (y > _ridge(level, x)) & (y < _ridge(level + 1, x) + 0.05)
        x, y = x[inside], y[inside]
        depth = y - _ridge(level, x)
        tone = 0.5 + 0.28 * np.sin(95 * depth + 5 * noise(7 * x, 7 * y))
        tone += 0.30 * noise(5 * x + 9, 9 * y) + rng.normal(0, 0.08, len(x))
        tone += 0.35 * smoothstep(0.016, 0.0, depth)
        color = accent(rng, ramp(colors, tone), ACCENTS, 0.03)
        layers.append(follow(rng, x, y, _roll(level), color, size))
    return join(*layers)


def _far_hills(rng: Generator, noise: Noise) -> Strokes:
    return _slopes(rng, noise, 0, FAR_HILLS, 0.85)


def _hills(rng: Generator, noise: Noise) -> Strokes:
    return join(_slopes(rng, noise, 1, HILLS, 0.9), _slopes(rng, noise, 2, NEAR_HILLS, 1.0))


def _furrow(x: Array, y: Array) -> Array:
    """Return the direction of the furrows: they meet far behind the field, with a swing."""
    return np.asarray(np.arctan2(y - 0.52, x - 0.52) + 0.35 * np.sin(11 * y + 3 * x))


def _field(rng: Generator, noise: Noise) -> Strokes:
    """Paint the wheat in furrows, the stream that winds through it, and poppies."""
    layers = []
    for gap, size in ((1.45, 1.2), (1.15, 1.0), (1.4, 0.85)):
        x, y = strew(rng, (-0.03, 0.70, ASPECT + 0.03, 1.03), gap)
        inside = y > _ridge(3, x)
        x, y = x[inside], y[inside]
        fan = np.arctan2(y - 0.52, x - 0.52) + 0.10 * np.sin(11 * y + 3 * x)
        tone = 0.55 + 0.27 * np.sin(21 * fan) + 0.35 * noise.fractal(6 * x, 8 * y, 2)
        color = ramp(WHEAT, tone + rng.normal(0, 0.09, len(x)))
        green = smoothstep(0.15, 0.45, noise.fractal(4 * x + 30, 7 * y, 2))[:, None]
        color = color * (1 - 0.8 * green) + 0.8 * green * ramp(HILLS, tone)
        layers.append(follow(rng, x, y, _furrow, color.astype(np.float32), size))
    return join(*layers, _brook(rng, noise), _poppies(rng, noise))


def _bed(y: Array) -> tuple[Array, Array]:
    """Return the middle and the half width of the stream at height y."""
    near = (y - 0.74) / 0.26
    return 0.50 + 0.16 * np.sin(5.0 * near + 0.4) * (0.35 + near), 0.012 + 0.075 * near


def _brook(rng: Generator, noise: Noise) -> Strokes:
    x, y = strew(rng, (0.0, 0.755, ASPECT, 1.03), 1.0)
    middle, half = _bed(y)
    inside = np.abs(x - middle) < half
    x, y = x[inside], y[inside]

    def angle(_: Array, y: Array) -> Array:
        above, _ = _bed(y - 0.01)
        below, _ = _bed(y + 0.01)
        return np.asarray(np.arctan2(np.full_like(y, 0.02), below - above))

    middle, half = _bed(y)
    tone = 0.5 + 0.3 * np.sin(7 * (x - middle) / half) + 0.4 * noise(8 * x, 14 * y)
    return follow(rng, x, y, angle, ramp(STREAM, tone + rng.normal(0, 0.1, len(x))), 0.95)


def _poppies(rng: Generator, noise: Noise) -> Strokes:
    x, y = strew(rng, (-0.02, 0.79, ASPECT + 0.02, 1.02), 1.25)
    middle, half = _bed(y)
    here = (noise.fractal(5 * x + 50, 9 * y, 2) > 0.12) & (np.abs(x - middle) > 1.15 * half)
    x, y = x[here], y[here]
    color = POPPY[rng.integers(0, len(POPPY), len(x))]
    return follow(rng, x, y, lambda x, y: 0.4 * np.sin(40 * x + 30 * y), color, 0.40)


def _cottages(rng: Generator, noise: Noise) -> Strokes:
    """Put cottages between the hills: three rows of cream strokes, three of red above them."""
    del noise
    groups = []
    for x0, y0, size in COTTAGES:
        for row in range(6):
            half = size * (0.016 if row < 3 else 0.021 - 0.006 * (row - 3))
            x = np.linspace(x0 - half, x0 + half, 3)
            y = np.full(3, y0 - 0.0105 * size * row)
            color = (CREAM if row < 3 else POPPY)[rng.integers(0, 3, 3)]
            groups.append(follow(rng, x, y, lambda x, _: np.zeros_like(x), color, 0.52 * size))
    return join(*groups)


# --- tree ----------------------------------------------------------------------------------------


def _tree(rng: Generator, noise: Noise) -> Strokes:
    """Paint trees like dark flames, strokes licking upwards."""
    return join(*(_flame(rng, noise, *tree) for tree in TREES))


def _flame(rng: Generator, noise: Noise, x0: float, top: float, half: float) -> Strokes:
    """Paint one flame whose foot is below the picture: axis x0, upper end, half width."""

    def axis(y: Array) -> Array:
        return np.asarray(x0 + 0.020 * np.sin(9.0 * y + 9 * x0) * smoothstep(1.0, 0.5, y))

    def breadth(y: Array, side: Array) -> Array:
        t = np.clip((y - top) / (1.0 - top), 0, 1)
        tongues = 1 + 0.20 * np.sin(24 * y + 2.2 * np.sign(side) + 20 * x0)
        return np.asarray(half * (2.0 * t * (1.35 - t) ** 0.9 * tongues + 0.04))

    def angle(x: Array, y: Array) -> Array:
        side = (x - axis(y)) / breadth(y, x - axis(y))
        lick = np.sin(17 * y + 3 * side + 20 * x0) * (0.4 + side**2)
        return np.asarray(-np.pi / 2 + 0.55 * side + 0.5 * lick)

    layers = []
    for gap in (1.1, 1.1):
        x, y = strew(rng, (x0 - 0.2, top, x0 + 0.2, 1.04), gap)
        side = (x - axis(y)) / breadth(y, x - axis(y))
        inside = np.abs(side) < 1 + rng.normal(0, 0.08, len(x))
        x, y, side = x[inside], y[inside], side[inside]
        tone = 0.30 + 0.30 * np.sin(5 * side + 17 * y) + 0.3 * noise(14 * x, 9 * y)
        tone += -0.24 * side + rng.normal(0, 0.1, len(x))
        color = accent(rng, ramp(FLAME, tone), EMBERS, 0.04)
        layers.append(follow(rng, x, y, angle, color, 1.05))
    return join(*layers)
