"""Houses, walls, a bridge, a tower and trees: their materials and their shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from pynst.demo.canvas import Array, Noise, mix, smoothstep
from pynst.demo.view import Material, Surface, View, color

__all__ = [
    "House",
    "draw_boat",
    "draw_bridge",
    "draw_house",
    "draw_lamp",
    "draw_tower",
    "draw_tree",
    "grass",
    "stone",
]

UP = np.array([0.0, 0.0, 1.0])
GRAIN = Noise(11)

WINDOW_FRAME, GLASS = color("e6dfd0"), color("1c2630")
DORMER = 1.9  # houses narrower than this stand on roofs
TIMBER = color("4a3424")
LAMP = color("ffa848")


@dataclass(frozen=True)
class House:
    """One house of a row.

    Attributes
    ----------
    width, depth, height, rise : float
        Metres: along the street, away from it, up to the eaves, from there to the ridge.
    gable : bool
        The gable looks to the street, otherwise the eaves do.
    wall, roof, shutter : (3,) arrays
        Linear colours.
    timber : bool
        Half-timbered.
    seed : int
        Seed of what differs from house to house.
    """

    width: float
    depth: float
    height: float
    rise: float
    gable: bool
    wall: Array
    roof: Array
    shutter: Array
    timber: bool
    seed: int


# --- materials ----------------------------------------------------------------------------------


def _bar(x: Array, half: float | Array, soft: float = 0.03) -> Array:
    """Return 1 within `half` of zero, 0 beyond."""
    return smoothstep(half + soft, half - soft, np.abs(x))


def _cell(x: Array, pitch: float) -> tuple[Array, Array]:
    """Split a coordinate into the number of its cell and the offset from the cell's middle."""
    index = np.floor(x / np.float32(pitch))
    return index, x - (index + np.float32(0.5)) * np.float32(pitch)


def _flat(u: Array, v: Array, tint: Array) -> Array:
    """Fill the points of a figure with one colour."""
    return np.broadcast_to(tint, (*np.broadcast_shapes(u.shape, v.shape), 3))


def _plaster(house: House, wide: float, gabled: bool) -> Material:
    """Return a wall of a house: stained plaster or timber framing, floors of windows."""
    floors = max(1, round((house.height - 0.4) / 2.9))
    bay, storey = wide / max(1, round(wide / 2.1)), house.height / floors

    def material(u: Array, v: Array) -> Surface:
        stain = GRAIN.fractal(0.7 * u + house.seed, 0.35 * v, 4)
        tone = 1 + 0.42 * stain + 0.10 * GRAIN(9 * u, 9 * v + house.seed)
        tone *= 1 - 0.35 * smoothstep(2.2, 0.0, v)
        if not gabled:  # the eaves cast a shadow
            tone = tone * (1 - 0.6 * smoothstep(-0.9, -0.2, v - house.height))
        albedo = _flat(u, v, house.wall) * tone[..., None]
        column, cu = _cell(u, bay)
        floor, cv = _cell(v, storey)
        if house.timber:
            beams = _beams(v, column, cu, cv, bay, storey)
            albedo = mix(albedo, TIMBER * tone[..., None], beams)
        if house.width < DORMER and not gabled:
            return Surface(albedo)
        luck = GRAIN(column * 7.3 + house.seed * 3.1 + 0.5, floor * 5.7 + 0.5)
        # No window may cut the slopes of the gable.
        climb = np.clip((v - house.height) / house.rise, 0, 1)
        room = smoothstep(0.1, 0.2, 1 - np.abs(2 * u / wide - 1) - 1.2 * climb)
        room = np.where(v > house.height, room * smoothstep(0.55, 0.45, climb), 1)
        return _windows(albedo, cu, cv, luck, room, house)

    return material


def _beams(v: Array, column: Array, cu: Array, cv: Array, bay: float, storey: float) -> Array:
    """Return where the timbers are: sills, posts and alternating braces, above the ground floor."""
    sill = _bar(storey / 2 - np.abs(cv), 0.11)
    post = _bar(bay / 2 - np.abs(cu), 0.08)
    lean = np.where(column % 2 == 0, np.float32(1), np.float32(-1))
    brace = _bar(cu * lean - cv * 0.75, 0.09) * smoothstep(0.50, 0.56, np.abs(cu))
    return np.asarray(np.maximum(np.maximum(sill, post), brace) * (v > 2.6))


def _windows(
    albedo: Array, cu: Array, cv: Array, luck: Array, room: Array, house: House
) -> Surface:
    """Set shuttered windows into a wall; some reflect the sky, a few are lit."""
    half_w, half_h = 0.46, min(0.74, 0.36 * house.height)
    cv = cv - np.float32(0.05)
    beside = _bar(np.abs(cu) - 0.78, 0.25) * _bar(cv, half_h) * (luck < 0.25)
    slats = 0.8 + 0.2 * np.sin(cv * 40)
    albedo = mix(albedo, house.shutter * slats[..., None], beside * room)
    ledge = _bar(cu, 0.62) * _bar(cv + half_h + 0.10, 0.07)
    under = _bar(cu - 0.1, 0.62) * _bar(cv + half_h + 0.32, 0.14, 0.1)
    albedo = albedo * (1 - 0.35 * under * room)[..., None]
    frame = np.maximum(_bar(cu, half_w + 0.10) * _bar(cv, half_h + 0.10), ledge)
    albedo = mix(albedo, WINDOW_FRAME, frame * room)
    pane = _bar(cu, half_w) * _bar(cv, half_h) * room
    panes = pane * (1 - _bar(cu, 0.045)) * (1 - _bar(cv - 0.22, 0.04))
    albedo = mix(albedo, GLASS, panes)
    mirror = np.clip(0.25 + 0.5 * cv + 0.4 * luck, 0, 1)[..., None] * color("8fa8c8") * 0.55
    lit = np.where((luck > 0.42)[..., None], LAMP * 0.55, mirror)
    return Surface(albedo, lit * panes[..., None])


def _tiles(tint: Array, seed: int) -> Material:
    """Return a tiled roof: rows of tiles of uneven colour, darker where moss and rain run."""

    def material(u: Array, v: Array) -> Surface:
        row, rv = _cell(v, 0.34)
        tile, ru = _cell(u + 0.13 * (row % 2), 0.26)
        each = GRAIN(tile * 3.7 + seed, row * 2.9)
        tone = 1 + 0.24 * each + 0.35 * GRAIN.fractal(0.35 * u + seed, 0.25 * v, 4)
        tone *= 1 - 0.45 * smoothstep(0.05, 0.17, rv) - 0.15 * smoothstep(0.08, 0.13, np.abs(ru))
        moss = smoothstep(0.15, 0.6, GRAIN.fractal(0.5 * u + 9, 0.5 * v + seed, 3))
        albedo = _flat(u, v, tint) * tone[..., None]
        return Surface(mix(albedo, _flat(u, v, color("5a5a3c")), 0.5 * moss))

    return material


def stone(tint: Array, seed: int, damp: float = 0.0) -> Material:
    """Return masonry of uneven blocks, dark and green up to `damp` metres above the water."""

    def material(u: Array, v: Array) -> Surface:
        row, rv = _cell(v, 0.45)
        block, ru = _cell(u + 0.45 * (row % 2) + 0.2 * GRAIN(row * 3.3, 0 * row), 0.95)
        joint = np.maximum(smoothstep(0.17, 0.21, np.abs(rv)), smoothstep(0.41, 0.46, np.abs(ru)))
        tone = 1 + 0.22 * GRAIN(block * 5.1 + seed, row * 3.7) + 0.4 * GRAIN.fractal(u, v, 4)
        albedo = _flat(u, v, tint) * (tone * (1 - 0.4 * joint))[..., None]
        if damp:
            wet = smoothstep(damp, 0.1 * damp, v + 0.4 * GRAIN(2 * u, 0 * v))
            albedo = mix(albedo, _flat(u, v, color("3c4030") * 0.6), 0.75 * wet)
        return Surface(albedo)

    return material


def grass(u: Array, v: Array) -> Surface:
    """Return a meadow."""
    tone = 0.5 + 0.8 * GRAIN.fractal(0.4 * u, 0.4 * v, 5, 0.7)
    return Surface(mix(_flat(u, v, color("2c3a16")), _flat(u, v, color("8f9440")), tone))


# --- shapes -------------------------------------------------------------------------------------


def draw_house(view: View, corner: Array, along: Array, house: House) -> None:
    """Draw a house whose street front runs from `corner` in the direction `along`."""
    out = np.array([along[1], -along[0], 0.0])
    w, d, h, rise = house.width, house.depth, house.height, house.rise
    front = [(0.0, 0.0), (w, 0.0), (w, h), (0.0, h)]
    end = [(0.0, 0.0), (d, 0.0), (d, h), (0.0, h)]
    if w < DORMER:
        end = [(d, 0.0), (d, h), (0.0, h)]  # the roof below hides the rest of a dormer
    if house.gable:
        front.insert(3, (w / 2, h + rise))
    else:
        end.insert(3, (d / 2, h + rise))
    side = _plaster(house, d, not house.gable)
    view.figure(corner, along, UP, front, _plaster(house, w, house.gable))
    view.figure(corner - d * out, out, UP, end, side)
    view.figure(corner + w * along, -out, UP, end, side)
    span, run = (w, d) if house.gable else (d, w)
    slope = float(np.hypot(span / 2, rise))
    eaves = 0.045 * span
    sheet = [(-eaves, -eaves), (run + eaves, -eaves), (run + eaves, slope), (-eaves, slope)]
    tiles = _tiles(house.roof, house.seed)
    starts = (
        ((corner - d * out, out, along), (corner + w * along, -out, -along))
        if house.gable
        else ((corner, along, -out), (corner + w * along - d * out, -along, out))
    )
    for start, U, inwards in starts:
        V = (inwards * span / 2 + UP * rise) / slope
        view.figure(start + h * UP, U, V, sheet, tiles)
    if house.width < DORMER:
        return
    at = 0.25 if house.seed % 2 else 0.65
    foot = corner + (at * w) * along - (0.42 * d) * out + (h + 0.5 * rise) * UP
    _block(view, foot, along, out, 0.75, 0.6, 0.5 * rise + 1.0, stone(color("7c5040"), 3))
    if not house.gable:
        dormer = replace(
            house, width=1.6, depth=0.6 * d / rise, height=1.2, rise=0.7, gable=True, timber=False
        )
        for share in (0.2, 0.6):
            sill = corner + (share * w) * along + h * UP + 0.28 * (rise * UP - d / 2 * out)
            draw_house(view, sill, along, replace(dormer, seed=house.seed + int(9 * share)))


def _block(
    view: View,
    corner: Array,
    along: Array,
    out: Array,
    w: float,
    d: float,
    h: float,
    side: Material,
) -> None:
    """Draw the three sides of a box that can face the river or the camera."""
    view.figure(corner, along, UP, [(0, 0), (w, 0), (w, h), (0, h)], side)
    for start, U in ((corner - d * out, out), (corner + w * along, -out)):
        view.figure(start, U, UP, [(0, 0), (d, 0), (d, h), (0, h)], side)


def draw_tower(view: View, corner: Array, size: float, height: float, spire: float) -> None:
    """Draw a square tower with a pointed roof; it stands square to the camera."""
    X, Y = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
    masonry = stone(color("b8a488"), 5)

    def material(u: Array, v: Array) -> Surface:
        albedo = masonry(u, v).albedo
        slits = _bar(np.abs(u - size / 2) - size * 0.18, 0.55) * _bar(v - height + 3.0, 1.5)
        clock = smoothstep(1.5, 1.4, np.hypot(u - size / 2, v - height + 8.5))
        _, cv = _cell(v - height, 6.0)
        ledge = _bar(cv + 2.9, 0.25)
        albedo = albedo * ((1 - 0.85 * slits) * (1 + 0.35 * ledge))[..., None]
        return Surface(mix(albedo, _flat(u, v, color("e8dcb8")), 0.9 * clock))

    half = size / 2
    slope = float(np.hypot(half, spire))
    slates = _tiles(color("4a5058"), 9)
    for start, U, inwards in (
        (corner + size * Y, -Y, X),
        (corner, X, Y),
        (corner + size * X, Y, -X),
    ):
        view.figure(start, U, UP, [(0, 0), (size, 0), (size, height), (0, height)], material)
        V = (inwards * half + UP * spire) / slope
        view.figure(
            start + height * UP, U, V, [(-0.5, -0.6), (size + 0.5, -0.6), (half, slope)], slates
        )


def draw_bridge(view: View, left: float, right: float, near: float, deck: float) -> None:
    """Draw a stone bridge of four arches across the river at the distance `near`."""
    masonry = stone(color("b39a78"), 8, damp=1.2)
    length = right - left
    pitch = length / 4

    def slice_of(shade: float) -> Material:
        def material(u: Array, v: Array) -> Surface:
            _, cu = _cell(u, pitch)
            hump = deck + 1.2 * (1 - (2 * u / length - 1) ** 2)
            radius = pitch / 2 - 0.9
            arch = np.hypot(cu / radius, v / (hump - 1.9))
            top = smoothstep(0.06, -0.06, v - hump)
            ring = smoothstep(1.16, 1.12, arch)
            rail = _bar(v - hump + 0.95, 0.12)
            tone = shade * (1 + 0.25 * ring - 0.5 * rail)
            solid = top * smoothstep(0.985, 1.0, arch)
            return Surface(masonry(u, v).albedo * tone[..., None], 0.0, solid)

        return material

    outline = [(0.0, 0.0), (length, 0.0), (length, deck + 2), (0.0, deck + 2)]
    X = np.array([1.0, 0.0, 0.0])
    for back in (5.0, 4.0, 3.0, 2.2, 1.5, 0.9, 0.4, 0.0):
        material = slice_of(0.45 if back else 1.0)
        view.figure(np.array([left, near + back, 0.0]), X, UP, outline, material, 1.6)


def draw_tree(
    view: View, foot: Array, height: float, width: float, seed: int, leaves: tuple[str, str]
) -> None:
    """Draw a tree as an upright sheet of foliage, lit on the side of the sun."""
    dark, bright = color(leaves[0]), color(leaves[1])

    def density(u: Array, v: Array, octaves: int) -> Array:
        middle = 0.57 * height
        body = 1 - (u / (width / 2)) ** 2 - ((v - middle) / (0.45 * height)) ** 2
        leafy = GRAIN.fractal(0.45 * u + seed, 0.55 * v, octaves, 0.72)
        return np.asarray(leafy + np.where(body > 0, 0.55, 1.3) * body)

    def material(u: Array, v: Array) -> Surface:
        here = density(u, v, 6)
        beyond = density(u + 0.55, v + 0.5, 4)
        lit = np.clip(0.22 + 0.9 * (here - beyond) + 0.3 * u / width + 0.15 * v / height, 0, 1)
        leaf = 1 + 0.7 * GRAIN.fractal(4 * u + seed, 5 * v, 3, 0.8)
        albedo = mix(_flat(u, v, dark), _flat(u, v, bright), lit) * leaf[..., None]
        crown = smoothstep(0.02, 0.10, here)
        trunk = _bar(u + 0.15 * np.sin(v), 0.03 * width) * (v < 0.55 * height)
        albedo = mix(_flat(u, v, color("2c2018")), albedo, crown)
        return Surface(albedo, 0.0, np.maximum(crown, trunk))

    reach = 0.75 * width
    sheet = [(-reach, 0.0), (reach, 0.0), (reach, 1.2 * height), (-reach, 1.2 * height)]
    view.figure(foot, np.array([1.0, 0.0, 0.0]), UP, sheet, material, 3.0)


def draw_lamp(view: View, foot: Array) -> None:
    """Draw a street lamp, lit already."""

    def material(u: Array, v: Array) -> Surface:
        post = _bar(u, 0.05, 0.02) * (v < 3.4)
        lantern = _bar(u, 0.13 + 0.05 * (v - 3.3)) * _bar(v - 3.7, 0.28)
        roof = _bar(u, 0.30 - 0.6 * (v - 4.0), 0.02) * _bar(v - 4.18, 0.18)
        arm = _bar(u, 0.22) * _bar(v - 3.38, 0.05)
        iron = np.maximum(np.maximum(post, arm), roof)
        glow = (lantern * (1 - iron))[..., None] * LAMP * 2.2
        return Surface(_flat(u, v, color("20242a")), glow, np.maximum(iron, lantern))

    sheet = [(-0.5, 0.0), (0.5, 0.0), (0.5, 4.5), (-0.5, 4.5)]
    view.figure(foot, np.array([1.0, 0.0, 0.0]), UP, sheet, material)


def draw_boat(view: View, middle: Array, turn: float, hull: Array) -> None:
    """Draw a rowing boat as slices from keel to gunwale; `turn` is its heading in radians."""
    U = np.array([np.cos(turn), np.sin(turn), 0.0])
    V = np.cross(UP, U) * view.flip  # seen from above, or from below in the water
    long, wide, high = 2.4, 0.75, 0.62

    def slice_at(level: float) -> Material:
        def material(u: Array, v: Array) -> Surface:
            half = wide * (1 - (u / (long * (0.86 + 0.14 * level))) ** 2) * (0.7 + 0.3 * level)
            tint = color("e8e0cc") if level > 0.85 else hull * (0.55 + 0.5 * level)
            albedo = _flat(u, v, tint)
            if level == 1.0:
                bench = np.maximum(_bar(u - 0.8, 0.16), _bar(u + 0.7, 0.16))
                floor = mix(_flat(u, v, color("4a3422")), _flat(u, v, color("b08a58")), bench)
                albedo = mix(albedo, floor, smoothstep(0.06, 0.10, half - np.abs(v)))
            return Surface(albedo, 0.0, smoothstep(-0.015, 0.015, half - np.abs(v)))

        return material

    outline = [(-long, -wide), (long, -wide), (long, wide), (-long, wide)]
    levels = np.linspace(0, 1, 11)
    for level in levels if view.flip > 0 else levels[::-1]:
        view.figure(middle + high * level * UP, U, V, outline, slice_at(float(level)), 1.5)
