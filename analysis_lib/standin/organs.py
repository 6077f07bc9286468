"""What surrounds the muscles in a synthetic CT at L3: skin and fat, spine, viscera, table, noise level."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from analysis_lib.standin import shapes
from analysis_lib.standin.shapes import SIZE, Field, Grid, Points
from analysis_lib.standin.spec import PatientSpec

_AIR_HU = -1000.0
_SUBCUTANEOUS_HU = -106.0
_VISCERAL_HU = -100.0
_BLOOD_HU = 42.0


def _shrink(outline: Points, by_mm: float) -> Points:
    """The outline moved inwards along its normals."""
    tangent = np.roll(outline, -1, axis=0) - np.roll(outline, 1, axis=0)
    normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    normal /= np.maximum(np.hypot(*normal.T), 1e-6)[:, None]
    x, y = outline.T
    if np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)) < 0:
        normal = -normal
    return outline - by_mm * normal


def _lattice(rng: np.random.Generator, along_mm: float, across_mm: float, grid: Grid) -> Field:
    """A texture of unit SD laid straight on the pixels of the whole image."""
    spacing = 0.5 * (grid.column_spacing_mm + grid.row_spacing_mm)
    table = shapes.texture_table(rng, along_mm, across_mm, cell_mm=spacing)
    return np.tile(table, (2, 2))


def field_of_view() -> NDArray[np.bool_]:
    """Pixels inside the reconstruction circle; scanners fill the rest with a constant."""
    at = (np.arange(SIZE) - (SIZE - 1) / 2) / (SIZE / 2)
    return at[:, None] ** 2 + at[None, :] ** 2 <= 1.0


def noise_amplitude(grid: Grid, skin: Points) -> Field:
    """Noise relative to the scanner's: highest in the middle of the body, low in air."""
    x, y = grid.x_mm()[None, :], grid.y_mm()[:, None]
    half = 0.5 * (skin.max(axis=0) - skin.min(axis=0))
    centre = 0.5 * (skin.max(axis=0) + skin.min(axis=0))
    square = ((x - centre[0]) / half[0]) ** 2 + ((y - centre[1]) / half[1]) ** 2
    return (0.35 + 0.80 * np.exp(-0.55 * square**1.5)).astype(np.float32)


def draw_coat(spec: PatientSpec, rng: np.random.Generator, grid: Grid, skin: Points, table_y_mm: float) -> Field:
    """Air, table, skin and subcutaneous fat with its septa, in HU (512, 512)."""
    image = np.full((SIZE, SIZE), _AIR_HU, np.float32)
    x = np.linspace(-215, 215, 60)
    for drop, width, value in ((1.0, 2.2, 60.0), (26.0, 1.8, -150.0)):
        curve = table_y_mm + drop - (0.00085 - 0.00001 * drop) * x**2
        shapes.paint(image, grid.stroke(np.column_stack([x, curve]), width), value)
    shapes.paint(image, grid.cover(skin), 25.0)
    fat = _lattice(rng, 1.6, 1.6, grid)
    web = _lattice(rng, 0.9, 4.5, grid)
    septa = _SUBCUTANEOUS_HU + 4 * fat + 34 * np.clip(0.10 - np.abs(web), 0, 0.10) * 10 * (fat > 0.4)
    layer = grid.cover(_shrink(skin, 1.7))
    shapes.paint(image, layer, septa[layer[0]])
    return image


def draw_spine(
    spec: PatientSpec, rng: np.random.Generator, grid: Grid, scale: float
) -> tuple[Field, Callable[[Field], None]]:
    """Vertebra L3: its coverage, and a function that paints it into an image."""
    body = np.array(
        [(0, -18), (10, -16.5), (17.5, -10.5), (20.5, -1), (20, 8), (15, 14.5), (6, 14), (0, 12.5), (-6, 14)]
        + [(-15, 14.5), (-20, 8), (-20.5, -1), (-17.5, -10.5), (-10, -16.5)],
        dtype=float,
    )
    body = shapes.closed_curve(shapes.roughen(rng, body, 0.012)) * scale
    tilt = rng.normal(0, 1.2)
    reach = 45 + 3 * rng.standard_normal()
    arch = []
    for side in (1, -1):
        pedicle = np.array([(11, 11), (18, 9), (21, 18), (19, 27), (12, 27), (11, 19)])
        process = np.array(
            [(17, 17), (27, 19.5), (reach - 4, 22 + tilt), (reach, 25 + tilt), (reach - 3, 27 + tilt)]
            + [(28, 25), (18, 26)]
        )
        facet = np.array([(12, 26), (18, 25), (21, 31), (17, 37), (10, 36)])
        lamina = np.array([(17, 27), (18, 32), (8, 39), (1, 42), (-1, 38), (7, 33), (13, 27)])
        for part in (pedicle, process, facet, lamina):
            arch.append(shapes.closed_curve(shapes.roughen(rng, part.astype(float), 0.015)) * scale * [side, 1])
    lean = rng.normal(0, 1.0)
    tip = 62 + 4 * rng.standard_normal()
    spinous = np.array(
        [
            (-2.6, 38),
            (2.6, 38),
            (2.0, 50),
            (3.2 + lean, tip - 3),
            (lean, tip),
            (-3.2 + lean, tip - 3),
            (-2.0, 50),
        ]
    )
    spinous = shapes.closed_curve(spinous.astype(float)) * scale
    canal = np.array([(0, 13.5), (9, 14.5), (11.5, 20), (7, 29), (0, 35), (-7, 29), (-11.5, 20), (-9, 14.5)])
    canal = shapes.closed_curve(canal.astype(float)) * scale
    bone = np.zeros((SIZE, SIZE), np.float32)
    for part in [body, spinous, *arch]:
        shapes.add_cover(bone, grid.cover(part))
    window, inside = grid.cover(canal)
    covered = bone.copy()
    shapes.add_cover(covered, (window, inside))
    bone[window] *= 1 - inside

    marrow_hu = 175 - 1.9 * (spec.age_years - 55) + 20 * rng.standard_normal()
    cortex_hu = 560 + 40 * rng.standard_normal()
    trabeculae = 38 * _lattice(rng, 0.8, 0.7, grid) + 22 * _lattice(rng, 3.0, 3.0, grid)
    sac = shapes.closed_curve(shapes.blob(rng, (0, 21.5 * scale), (8.5 * scale, 7.0 * scale), 0, 0.02))

    def paint_bone(image: Field) -> None:
        shapes.paint(image, (window, inside), -60.0)
        shapes.paint(image, grid.cover(sac), 26.0, clip=1 - bone)
        image += bone * (cortex_hu - image)
        cancellous = max(marrow_hu, 70.0) + trabeculae
        for part, rim in [(body, 1.5), (spinous, 1.7), *((a, 1.8) for a in arch)]:
            layer = grid.cover(_shrink(part, rim * scale))
            extra = 0.0 if part is body else 70.0
            shapes.paint(image, layer, cancellous[layer[0]] + extra, clip=bone)
        # Joint spaces of the facets, and the basivertebral vein.
        for side in (1, -1):
            line = np.array([(12.0, 35.0), (15.0, 31.5), (19.5, 29.5)]) * scale * [side, 1]
            shapes.paint(image, grid.stroke(line, 1.4), 90.0)

    return covered, paint_bone


def _loop(image: Field, rng: np.random.Generator, grid: Grid, outline: Points, content: str, inside: Field) -> None:
    """One section of bowel: wall, then fluid, stool or gas over fluid."""
    shapes.paint(image, grid.cover(outline), 38.0 + 4 * rng.standard_normal(), inside)
    lumen = _shrink(outline, 2.2 if content != "gas" else 1.6)
    layer = grid.cover(lumen)
    window, cover = layer
    if cover.size == 0:
        return
    if content == "stool":
        mottle = shapes.texture_table(rng, 1.5, 1.5, 0.8, 128)[: cover.shape[0], : cover.shape[1]]
        if mottle.shape != cover.shape:
            mottle = np.zeros_like(cover)
        value = 30 + 16 * mottle - 420 * np.clip(mottle - 1.25, 0, 1)
        shapes.paint(image, layer, value.astype(np.float32), inside)
        return
    shapes.paint(image, layer, 18.0 + 9 * rng.standard_normal(), inside)
    if content == "gas":
        # Supine: gas lies to the front above a level.
        y = grid.y_mm()[window[0]][:, None]
        level = lumen[:, 1].min() + rng.uniform(0.45, 0.95) * np.ptp(lumen[:, 1])
        gas = np.clip((level - y) / grid.row_spacing_mm + 0.5, 0, 1)
        shapes.paint(image, (window, cover * gas.astype(np.float32)), -940.0, inside)


def draw_viscera(
    spec: PatientSpec,
    rng: np.random.Generator,
    grid: Grid,
    cavity: Points,
    scale: float,
    psoas_edge_mm: float,
) -> Field:
    """Fat and organs of the abdominal cavity, in HU (512, 512); only its inside is meant to be used."""
    texture = _lattice(rng, 1.8, 1.8, grid)
    image = (_VISCERAL_HU + 7 * texture + 4 * np.maximum(_lattice(rng, 5.0, 5.0, grid), 0)).astype(np.float32)
    inside = grid.full(_shrink(cavity, 1.2))
    front, half = cavity[:, 1].min(), np.abs(cavity[:, 0]).max()
    depth = -17 * scale - front
    taken: list[tuple[float, float, float]] = []

    def side_limit(y: float) -> float:
        near = np.abs(cavity[:, 1] - y) < 6
        return float(np.abs(cavity[near, 0]).max()) if near.any() else half

    def vessel(x: float, y: float, rx: float, ry: float, value: float = _BLOOD_HU) -> Points:
        outline = shapes.blob(rng, (x, y), (rx, ry), rng.normal(0, 0.2), 0.03)
        shapes.paint(image, grid.cover(outline), value)
        taken.append((x, y, max(rx, ry)))
        return outline

    aorta_r = (8.2 + 0.05 * (spec.age_years - 55)) * scale * np.exp(0.06 * rng.standard_normal())
    aorta_x, aorta_y = 9 + 3 * rng.standard_normal(), -17 * scale - aorta_r - 2.5
    aorta = vessel(aorta_x, aorta_y, aorta_r, aorta_r)
    if rng.random() < np.clip((spec.age_years - 48) / 35, 0, 0.8):
        start = rng.integers(0, 40)
        for piece in range(rng.integers(1, 4)):
            arc = _shrink(aorta, 0.8)[(start + 11 * piece) % 40 :][: rng.integers(3, 8)]
            shapes.paint(image, grid.stroke(arc, 1.6), 420.0)
    cava_rx = (9.5 + 1.5 * rng.standard_normal()) * scale
    cava_ry = max(8.0 + 1.6 * rng.standard_normal(), 5.0) * scale
    vessel(-16 * scale + rng.normal(0, 1.5), -17 * scale - cava_ry + 1.0, max(cava_rx, 7.0), cava_ry)

    # Lower poles of the kidneys, lateral to the psoas; the liver stands over the right one, so it lies lower.
    for side in (1, -1):
        radius = max((18 + 4 * rng.standard_normal()) * scale + (2.0 if side < 0 else 0), 8.0)
        y = rng.normal(-4, 4)
        x = min(psoas_edge_mm + 0.85 * radius + rng.uniform(3, 8), side_limit(y) - radius - 3)
        if x - radius < psoas_edge_mm - 8:
            radius = max(radius * 0.7, 7.0)
        gerota = shapes.blob(rng, (side * x, y), (radius * 1.45, radius * 1.5), side * 0.5, 0.04)
        shapes.paint(image, grid.stroke(np.vstack([gerota, gerota[:1]]), 0.4), -30.0, inside)
        kidney = shapes.blob(rng, (side * x, y), (radius * 0.92, radius * 1.25), side * 0.6, 0.045)
        shapes.paint(image, grid.cover(kidney), 31.0 + 2 * rng.standard_normal(), inside)
        if radius > 17:
            # The fat of the sinus opens to the front and the middle; calices and vessels cross it.
            hilum = (side * (x - 0.42 * radius), y - 0.25 * radius)
            sinus = shapes.blob(rng, hilum, (radius * 0.42, radius * 0.24), -side * 0.5, 0.2)
            shapes.paint(image, grid.cover(sinus), -60.0, inside)
            for _ in range(3):
                at = tuple(np.array(hilum) + rng.normal(0, 0.16 * radius, 2))
                shapes.paint(image, grid.cover(shapes.blob(rng, at, (0.13 * radius, 0.09 * radius), 0.4)), 22.0, inside)
        taken.append((side * x, y, radius * 1.25))
        shapes.paint(image, grid.cover(shapes.blob(rng, (side * (psoas_edge_mm - 4), -24 * scale), (2.2, 2.2))), 20.0)

    if rng.random() < 0.55:
        height = rng.uniform(18, 42)
        y = front + depth * rng.uniform(0.45, 0.75)
        x = -side_limit(y) + 2
        liver = shapes.blob(rng, (x, y), (rng.uniform(14, 34), height), 0.12, 0.04)
        shapes.paint(image, grid.cover(liver), 56.0 + 3 * rng.standard_normal(), inside)
        taken.append((x, y, 0.8 * height))

    def free(x: float, y: float, r: float, gap: float = 1.0) -> bool:
        return all(np.hypot(x - a, y - b) > r + c + gap for a, b, c in taken)

    # Ascending colon on the patient's right, descending on the left and further back.
    for side, back_y in ((-1, 0.62), (1, 0.88)):
        r = rng.uniform(15, 23) if side < 0 else rng.uniform(10, 16)
        y = front + back_y * depth + rng.normal(0, 5)
        for _ in range(12):
            x = side * (side_limit(y) - r - 3)
            if free(x, y, r, -4):
                break
            y -= 5
        outline = shapes.blob(rng, (x, y), (r, r * rng.uniform(1.0, 1.25)), rng.normal(0, 0.3), 0.06)
        _loop(image, rng, grid, outline, rng.choice(["stool", "stool", "gas"]), inside)
        taken.append((x, y, r))

    # Small bowel and transverse colon fill the front, each loop where there is room.
    loops = 0
    limit = 14 + rng.integers(0, 12)
    for trial in range(260):
        r = rng.uniform(8, 17) if trial < 160 else rng.uniform(6, 9)
        x = rng.uniform(-0.9, 0.9) * half
        y = front + rng.uniform(0.08, 1.15) * depth
        if abs(x) + r > side_limit(y) - 3 or y - r < front + 4 + 30 * (x / half) ** 2 or not free(x, y, 0.80 * r, 0.0):
            continue
        if np.abs(x) < psoas_edge_mm and y + r > -19 * scale:
            continue
        long = rng.uniform(0.9, 1.6)
        outline = shapes.blob(rng, (x, y), (r * long, r / long**0.5), rng.uniform(0, 3.1), 0.11)
        kinds = ["gas", "stool", "fluid"] if y < front + 0.4 * depth else ["fluid", "fluid", "fluid", "gas"]
        _loop(image, rng, grid, outline, str(rng.choice(kinds)), inside)
        taken.append((x, y, r))
        loops += 1
        if loops >= limit:
            break
    # Vessels of the mesentery.
    for _ in range(46):
        x, y = rng.uniform(-0.75, 0.75) * half, front + rng.uniform(0.1, 1.0) * depth
        r = rng.uniform(0.9, 2.4)
        if free(x, y, r, 0.5):
            outline = shapes.blob(rng, (x, y), (r * rng.uniform(1, 2.4), r), rng.uniform(0, 3.1), 0.1)
            shapes.paint(image, grid.cover(outline), 32.0, inside)
    return image
