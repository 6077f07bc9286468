"""Synthetic CT of the abdomen at L3, drawn from a patient's specification and meeting its targets exactly.

Lengths are in mm, in the frame of ``shapes``: the origin is the centre of the vertebral body, x grows to the
patient's left, y to the back. Proportions were read off axial CT at L3; none is a measurement to be cited.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from analysis_lib.standin import organs, shapes
from analysis_lib.standin.shapes import SIZE, Field, Grid, Points
from analysis_lib.standin.spec import PatientSpec

_FAT_HU = -104.0
_LEAN_HU = 54.0
_SLACK_PX = 0.8  # how far a mask may stray from the drawn edge

# Right half of the template, mirrored for the other side.
_ERECTOR = np.array(
    [(7, 70), (6, 56), (8, 46), (18, 40), (30, 33), (46, 28), (62, 27), (74, 33), (79, 45), (75, 60), (62, 73)]
    + [(44, 80), (26, 81), (13, 77)],
    dtype=float,
)
_ERECTOR_ANCHOR = np.array([5.0, 36.0])
_QUADRATUS = np.array(
    [(45, 17), (54, 12), (66, 13), (76, 19), (80, 28), (74, 33), (62, 30), (50, 27)], dtype=float
)
_QUADRATUS_ANCHOR = np.array([44.0, 24.0])
_PSOAS = np.array(
    [(22, -7), (27, -16), (36, -18), (45, -12), (50, 0), (49, 12), (43, 20), (32, 20), (24, 15), (21, 4)],
    dtype=float,
)
_PSOAS_ANCHOR = np.array([21.0, 16.0])


@dataclass(frozen=True)
class DrawnPatient:
    """CT numbers int16 (n_slices, 512, 512), slices from feet to head, and the masks of the L3 slice."""

    hu: NDArray[np.int16]
    sm: NDArray[np.bool_]
    pm: NDArray[np.bool_]
    l3_index: int


@dataclass(frozen=True)
class _Solution:
    shift_pm_hu: float
    shift_rest_hu: float
    sm: NDArray[np.bool_]
    pm: NDArray[np.bool_]


@dataclass
class _Muscle:
    outline: Points
    kind: str  # psoas, erector, quadratus, rectus or oblique
    side: int
    planes: list[Points]


@dataclass
class _Body:
    """Outlines of one patient, in mm."""

    skin: Points
    cavity: Points
    muscles: list[_Muscle]
    bone_scale: float
    midline: Points  # of the abdominal wall, for the direction of its fibres
    table_y: float


def _fit(outline: Points, anchor: Points, area_mm2: float, rim_mm: float) -> float:
    """Scale about ``anchor`` at which the outline drawn ``rim_mm`` inside encloses ``area_mm2``."""
    area, perimeter = shapes.area_mm2(outline), shapes.perimeter_mm(outline)
    scale = np.sqrt(area_mm2 / area)
    for _ in range(3):
        scale = np.sqrt((area_mm2 + rim_mm * perimeter * scale) / area)
    return float(scale)


def _scaled(points: Points, anchor: Points, scale: float, side: int, shift: Points) -> Points:
    return (anchor + shift + (points - anchor) * scale) * np.array([side, 1.0])


def _paired_muscles(
    spec: PatientSpec, rng: np.random.Generator, bone: float, rest_mm2: float
) -> list[_Muscle]:
    """Psoas, erector spinae with multifidus, and quadratus lumborum of both sides."""
    paraspinal = rest_mm2 * float(np.clip(0.55 + 0.025 * rng.standard_normal(), 0.50, 0.60))
    plans = [
        ("psoas", _PSOAS, _PSOAS_ANCHOR, 100 * spec.pm_area_cm2, 0.25, 0.05),
        ("erector", _ERECTOR, _ERECTOR_ANCHOR, 0.87 * paraspinal, 0.25, 0.03),
        ("quadratus", _QUADRATUS, _QUADRATUS_ANCHOR, 0.13 * paraspinal, 0.25, 0.08),
    ]
    muscles = []
    for kind, template, anchor, total_mm2, rim, wobble in plans:
        left_share = 0.5 + 0.012 * rng.standard_normal()
        stretch = np.exp(0.05 * rng.standard_normal() * np.array([1.0, -1.0]))
        base = shapes.closed_curve(shapes.roughen(rng, template, 0.015)) * stretch
        for side, share in ((1, left_share), (-1, 1 - left_share)):
            outline = shapes.roughen(rng, base, wobble * 0.6)
            pivot = anchor * stretch
            scale = _fit(outline, pivot, share * total_mm2, rim)
            shift = anchor * bone - pivot
            place = lambda p, a=pivot, s=scale, d=side, h=shift: _scaled(p, a, s, d, h)  # noqa: E731
            planes = []
            if kind == "erector":
                wave = rng.normal(0, 1.2, (2, 1))
                planes = [
                    np.array([(25, 37), (21, 50), (22, 64), (26, 79)]) + wave[0],
                    np.array([(46, 30), (52, 46), (54, 60), (49, 77)]) + wave[1],
                    np.array([(8, 60), (15, 62), (22, 60)]) + wave[1],
                    np.array([(52, 46), (62, 50), (70, 58)]) + wave[0],
                ]
            elif kind == "psoas":
                planes = [np.array([(24, 8), (32, 3), (37, -4)]) + rng.normal(0, 1.0, (1, 2))]
            planes = [place(shapes.open_curve(p * stretch, 24)) for p in planes]
            muscles.append(_Muscle(place(outline), kind, side, planes))
    return muscles


def _wall(
    spec: PatientSpec,
    rng: np.random.Generator,
    half_width: float,
    front: float,
    corners: dict[int, Points],
    area_mm2: float,
) -> tuple[list[_Muscle], Points, Points, Points]:
    """Rectus and the three lateral layers of both sides; also inner, outer and middle closed curves."""
    curves, normals, thick = {}, {}, {}
    t = np.linspace(0, 1, 120)
    rectus_end = 0.27 + 0.015 * rng.standard_normal()
    flat = 0.035 + 0.012 * rng.standard_normal()
    profile = np.interp(
        t,
        [0, 0.015, 0.05, 0.13, 0.22, rectus_end, rectus_end + 0.05, 0.42, 0.62, 0.80, 0.92, 1],
        [0.1, 0.20, 0.60, 0.78, 0.66, 0.26, 0.50, 0.95, 1.15, 1.05, 0.62, 0.16],
    )
    profile = ndimage.gaussian_filter1d(profile, 2.0, mode="nearest")
    for side in (1, -1):
        corner = corners[side] * np.array([side, 1.0])
        height = corner[1] - front
        width = half_width * (1 + 0.012 * rng.standard_normal())
        control = np.array(
            [
                (0, front),
                (0.36 * width, front + flat * height),
                (0.66 * width, front + 0.13 * height),
                (0.88 * width, front + 0.32 * height),
                (width, front + 0.60 * height),
                (0.94 * width, front + 0.83 * height),
                (0.5 * (corner[0] + 0.86 * width), front + 0.965 * height),
                tuple(corner),
            ]
        )
        control[1:7] += rng.normal(0, 1.0, (6, 2))
        curve = shapes.open_curve(control, len(t))
        tangent = np.gradient(curve, axis=0)
        normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
        normal /= np.hypot(*normal.T)[:, None]
        if normal[60, 0] < 0:
            normal = -normal
        mirror = np.array([side, 1.0])
        curves[side], normals[side] = curve * mirror, normal * mirror
        thick[side] = profile * np.interp(t, np.linspace(0, 1, 7), 1 + 0.06 * rng.standard_normal(7))

    def between(side: int, low: float, high: float, start: float, stop: float) -> Points:
        part = slice(round(start * 119), round(stop * 119) + 1)
        curve, offset = curves[side][part], normals[side][part] * thick[side][part][:, None]
        return np.vstack([curve + high * offset, (curve + low * offset)[::-1]])

    spans = {"rectus": (0.018, rectus_end), "oblique": (rectus_end + 0.018, 1.0)}
    area = sum(shapes.area_mm2(between(s, -0.5, 0.5, *span)) for s in (1, -1) for span in spans.values())
    rim = sum(shapes.perimeter_mm(between(s, -0.5, 0.5, *span)) for s in (1, -1) for span in spans.values())
    for side in (1, -1):
        thick[side] *= (area_mm2 + 0.22 * rim) / area
    muscles = []
    for side in (1, -1):
        for kind, span in spans.items():
            planes = []
            if kind == "oblique":
                part = slice(round(span[0] * 119) + 3, 114)
                for depth in (0.14, -0.20):
                    drift = depth + 0.04 * np.sin(np.linspace(0, 5, 120) + rng.uniform(0, 6))[part]
                    offset = normals[side][part] * (thick[side][part] * drift)[:, None]
                    planes.append(curves[side][part] + offset)
            muscles.append(_Muscle(between(side, -0.5, 0.5, *span), kind, side, planes))
    offsets = {s: normals[s] * (0.5 * thick[s] + 0.4)[:, None] for s in (1, -1)}

    def ring(sign: int) -> Points:
        return np.vstack([curves[1] + sign * offsets[1], (curves[-1] + sign * offsets[-1])[::-1]])

    return muscles, ring(-1), ring(1), np.vstack([curves[1], curves[-1][::-1]])


def _skin(spec: PatientSpec, rng: np.random.Generator, hull: Points, fat_mm: float) -> Points:
    """The skin round the muscles: their hull plus subcutaneous fat of individual distribution."""
    centre = np.array([0.0, 0.5 * (hull[:, 1].min() + hull[:, 1].max())])
    theta = np.linspace(-np.pi, np.pi, 361)[:-1]
    hull = hull[ConvexHull(hull).vertices]  # fat fills the hollow between flank and back
    hull = np.column_stack([np.interp(np.arange(0, len(hull), 0.1), np.arange(len(hull) + 1), np.r_[c, c[0]]) for c in hull.T])
    offset = hull - centre
    angle, radius = np.arctan2(offset[:, 1], offset[:, 0]), np.hypot(*offset.T)
    order = np.argsort(angle)
    inner = np.interp(theta, angle[order], radius[order], period=2 * np.pi)
    smooth = ndimage.gaussian_filter1d(ndimage.maximum_filter1d(inner, 5, mode="wrap"), 9, mode="wrap")
    front = np.maximum(-np.sin(theta), 0)
    back = np.maximum(np.sin(theta), 0)
    fat = fat_mm * (0.75 + 0.35 * front**2 + 0.30 * back**2 + 0.30 * np.exp(-(((back - 0.62) / 0.25) ** 2)))
    for k in (2, 3, 5):
        fat *= 1 + 0.05 * rng.standard_normal() * np.cos(k * theta + rng.uniform(0, 6.3))
    fat += (5.0 + 0.15 * fat_mm) * np.exp(-(((back - 0.70) / 0.22) ** 2))  # broad back of a supine body
    radius = np.maximum(smooth + fat, ndimage.gaussian_filter1d(inner, 2, mode="wrap") + 4.0 + 0.25 * fat_mm)
    furrow = (3.0 + 0.16 * fat_mm) * np.exp(-((np.abs(theta - np.pi / 2) / 0.13) ** 2))
    navel = (1.5 + 0.10 * fat_mm) * np.exp(-((np.abs(theta + np.pi / 2) / 0.06) ** 2)) * rng.uniform(0, 1)
    radius = ndimage.gaussian_filter1d(radius - furrow - navel, 2.5, mode="wrap")
    return centre + radius[:, None] * np.column_stack([np.cos(theta), np.sin(theta)])


def _outline_body(spec: PatientSpec, rng: np.random.Generator, rest_mm2: float) -> _Body:
    """All outlines, from the spine outwards, so that the muscles fit whatever their size.

    ``rest_mm2`` is what the muscles other than psoas are to fill.
    """
    male = spec.sex == "M"
    bone = (1.06 if male else 0.95) * (spec.height_m / (1.70 if male else 1.58)) ** 0.7
    excess = spec.bmi - 23.0
    muscles = _paired_muscles(spec, rng, bone, rest_mm2)
    erectors = {m.side: m.outline for m in muscles if m.kind == "erector"}
    quadrati = {m.side: m.outline for m in muscles if m.kind == "quadratus"}
    corners = {}
    for side in (1, -1):
        reach = np.vstack([erectors[side], quadrati[side]])
        widest = reach[np.argmax(side * reach[:, 0])]
        corners[side] = widest + np.array([side * 0.8, -2.0])
    lateral = max(side * corners[side][0] for side in (1, -1))
    wall_mm2 = rest_mm2 - sum(
        shapes.area_mm2(m.outline) - 0.25 * shapes.perimeter_mm(m.outline)
        for m in muscles
        if m.kind != "psoas"
    )
    stature = (spec.height_m / (1.70 if male else 1.58)) ** 0.6
    half_width = (132 if male else 120) * (1 + 0.017 * excess) * stature * np.exp(0.03 * rng.standard_normal())
    half_width = max(half_width, lateral + 22.0)
    psoas_depth = -min(m.outline[:, 1].min() for m in muscles if m.kind == "psoas")
    depth = (82 if male else 68) * (1 + 0.040 * excess) * np.exp(0.07 * rng.standard_normal())
    front = -max(17 * bone + max(depth, 42.0), psoas_depth + 38.0)
    fat_mm = max((9 + 1.5 * (spec.bmi - 18)) * (0.75 if male else 1.25), 4.0) * np.exp(0.15 * rng.standard_normal())
    # A body wider than the field of view is narrowed: the operator would have centred and fitted it.
    field_mm = SIZE * spec.column_spacing_mm
    over = 2 * (half_width + 8 + fat_mm) / (0.96 * field_mm)
    if over > 1:
        fat_mm = max(fat_mm / over**2, 4.0)
        half_width = max(min(half_width, 0.48 * field_mm - fat_mm - 8), lateral + 12.0)
    wall, inner, outer, midline = _wall(spec, rng, half_width, front, corners, wall_mm2)
    hull = np.vstack([outer, *erectors.values()])
    skin = _skin(spec, rng, hull, fat_mm)
    return _Body(skin, inner, muscles + wall, bone, midline, skin[:, 1].max() + 1.0)


def _parenchyma(
    spec: PatientSpec, rng: np.random.Generator, grid: Grid, cover: dict[str, Field], body: _Body
) -> Field:
    """CT numbers of muscle (512, 512): lean tissue, fatty streaks along the fibres, unevenness and grain.

    Infiltration deepens and coarsens the streaks; the mean is set later, so it carries no density.
    """
    z = float(np.clip(spec.infiltration_z, -3, 3)) + 0.15 * rng.standard_normal()
    depth_hu = 28.0 * np.exp(0.65 * z)
    across_mm = 0.85 * np.exp(0.14 * z)
    along_mm = 2.6 * across_mm
    streaks = shapes.texture_table(rng, along_mm, across_mm)
    uneven, patches = (shapes.texture_table(rng, *lengths) for lengths in ((6.0, 5.0), (4.5, 3.5)))
    fine = shapes.texture_table(rng, 0.7, 0.6)
    total = np.zeros((SIZE, SIZE), np.float32)
    for cov in cover.values():
        np.maximum(total, cov, out=total)
    rows, columns = np.nonzero(total > 0)
    x, y = grid.x_mm()[columns], grid.y_mm()[rows]
    kind = np.argmax(np.stack([cover[k][rows, columns] for k in cover]), axis=0)
    names = list(cover)
    u, v = np.empty_like(x), np.empty_like(x)
    weight = np.ones_like(x)
    # Sheets of fat run in the layers of the wall, slant outwards at the back, and cross the psoas.
    wall = kind == names.index("wall")
    theta = np.arctan2(y + 30, x)
    middle = body.midline - np.array([0.0, -30.0])
    order = np.argsort(np.arctan2(middle[:, 1], middle[:, 0]))
    radius = np.interp(
        theta, np.arctan2(middle[:, 1], middle[:, 0])[order], np.hypot(*middle.T)[order], period=2 * np.pi
    )
    u[wall] = (theta * 120)[wall]
    v[wall] = (np.hypot(x, y + 30) - radius)[wall]
    side = np.sign(x)
    back = kind == names.index("back")
    bend = 3.0 * np.sin(y / 14 + x / 23)
    u[back] = (0.90 * y + 0.44 * np.abs(x))[back]
    v[back] = (0.90 * np.abs(x) - 0.44 * y + bend + 70 * side)[back]
    deep = np.exp(-(((np.abs(x) - 14) / 14) ** 2))
    weight[back] = (0.9 + 0.7 * deep)[back]  # multifidus turns to fat first
    psoas = kind == names.index("psoas")
    u[psoas] = (0.5 * np.abs(x) - 0.87 * y)[psoas]
    v[psoas] = (0.87 * np.abs(x) + 0.5 * y + 90 * side)[psoas]
    weight[psoas] = 0.75
    patch = shapes.sample_table(uneven, x, y)
    streak = np.maximum(shapes.sample_table(streaks, u, v) + 0.5 * patch - 0.25, 0)
    value = _LEAN_HU - 110.0 * np.tanh(weight * depth_hu * streak / 110.0)  # never less dense than fat
    value += 3.5 * np.exp(0.55 * z) * shapes.sample_table(patches, x, y)
    value += 7.0 * np.exp(0.30 * np.clip(spec.grain_z, -3, 3)) * shapes.sample_table(fine, x, y)
    field = np.full((SIZE, SIZE), _LEAN_HU, np.float32)
    field[rows, columns] = np.maximum(value, _FAT_HU)
    return field


def _separable(image: Field, columns: Field, rows: Field) -> Field:
    """Resample at the given column and row positions (512,) each, linearly."""
    for axis, at in ((1, columns), (0, rows)):
        at = np.clip(at, 0, SIZE - 1.001)
        low = at.astype(np.intp)
        part = (at - low).astype(np.float32)
        part = part[None, :] if axis == 1 else part[:, None]
        first = np.take(image, low, axis=axis)
        image = first + part * (np.take(image, low + 1, axis=axis) - first)
    return image


def _meet_targets(
    spec: PatientSpec,
    image: Field,
    distance: tuple[Field, Field],
    weight: tuple[Field, Field],
    window_hu: tuple[float, float],
) -> tuple[_Solution | None, float]:
    """Shifts of psoas and other muscle, and the masks, at which the rounded image meets all four targets.

    None where the mask would leave the drawn edge by more than the slack; the second value says how much larger
    the muscles must then be drawn.
    """
    pixel_cm2 = spec.row_spacing_mm * spec.column_spacing_mm / 100
    n_pm, n_sm = round(spec.pm_area_cm2 / pixel_cm2), round(spec.sm_area_cm2 / pixel_cm2)
    d_pm, d_rest = (d.ravel() for d in distance)
    flat, w_pm, w_rest = image.ravel(), weight[0].ravel(), weight[1].ravel()
    near = np.flatnonzero(d_pm > -4)
    pm = near[np.argsort(-d_pm[near], kind="stable")[:n_pm]]
    taken = np.zeros(flat.size, bool)
    taken[pm] = True
    rest = np.flatnonzero((d_rest > -4) & ~taken)
    rest = rest[np.argsort(-d_rest[rest], kind="stable")]
    low, high = window_hu
    drawn = int(np.count_nonzero(d_rest[rest] > -_SLACK_PX))
    nominal = int(np.count_nonzero(d_rest[rest] > 0))
    shift_pm = shift_rest = 0.0
    for _ in range(40):
        pm_hu = np.rint(flat[pm] + shift_pm * w_pm[pm] + shift_rest * w_rest[pm])
        rest_hu = np.rint(flat[rest] + shift_pm * w_pm[rest] + shift_rest * w_rest[rest])
        pm_in = (pm_hu >= low) & (pm_hu <= high)
        count = np.cumsum((rest_hu >= low) & (rest_hu <= high))
        needed = n_sm - int(pm_in.sum())
        if needed < 1 or count[nominal - 1] < 1:
            break
        n_rest = min(int(np.searchsorted(count, needed)) + 1, drawn)
        chosen = rest_hu[:n_rest]
        inside = (chosen >= low) & (chosen <= high)
        found = pm_in.sum() + inside.sum()
        off_pm = spec.pm_mean_hu - float(pm_hu.mean())
        off_sm = spec.sm_mean_hu - float(pm_hu[pm_in].sum() + chosen[inside].sum()) / found
        if abs(off_pm) < 0.02 and abs(off_sm) < 0.02:
            fill = needed / float(count[nominal - 1])
            if found < n_sm or d_rest[rest[n_rest - 1]] > _SLACK_PX:
                return None, fill
            sm = taken.copy()
            sm[rest[:n_rest]] = True
            return _Solution(shift_pm, shift_rest, sm.reshape(image.shape), taken.reshape(image.shape)), fill
        shift_pm += off_pm / max(float(w_pm[pm].mean()), 0.3)
        shift_rest += off_sm * found / max(float(w_rest[rest[:n_rest]][inside].sum()), 1.0)
        if abs(shift_rest) > 150 or abs(shift_pm) > 150:
            break
    raise ValueError(
        f"{spec.patient_id}: no image has SM {spec.sm_area_cm2:.1f} cm2 at {spec.sm_mean_hu:.1f} HU with PM "
        f"{spec.pm_area_cm2:.1f} cm2 at {spec.pm_mean_hu:.1f} HU; bring the targets closer together"
    )


def draw_patient(
    spec: PatientSpec, n_slices: int = 7, sm_window: tuple[float, float] = (-29, 150)
) -> DrawnPatient:
    """Draw the CT around L3 and the masks of one patient.

    The L3 slice (the middle one) meets the specification as it will be measured: PM by its whole mask, SM by
    the pixels of its mask within ``sm_window`` (HU, inclusive). Areas are exact to the pixel, mean densities
    to 0.02 HU. A function of ``spec`` alone. Raises ValueError, naming the patient, if the targets contradict
    one another.
    """
    rest_mm2 = 100 * (spec.sm_area_cm2 - spec.pm_area_cm2)
    for _ in range(5):
        drawn, fill = _attempt(spec, n_slices, sm_window, rest_mm2)
        if drawn is not None:
            return drawn
        rest_mm2 *= float(np.clip(fill, 0.8, 1.25))
    raise ValueError(f"{spec.patient_id}: too little of the muscle lies within {sm_window} HU to fill its area")


def _attempt(
    spec: PatientSpec, n_slices: int, sm_window: tuple[float, float], rest_mm2: float
) -> tuple[DrawnPatient | None, float]:
    """One drawing, with the muscles other than psoas filling ``rest_mm2``; None where the masks do not fit it."""
    rng = np.random.default_rng(spec.seed)
    body = _outline_body(spec, rng, rest_mm2)
    dx, dy = spec.column_spacing_mm, spec.row_spacing_mm
    middle = 0.5 * (body.skin.max(axis=0) + body.skin.min(axis=0)) + rng.normal(0, 2.0, 2)
    grid = Grid(dx, dy, (SIZE - 1) / 2 - middle[0] / dx, (SIZE - 1) / 2 - (middle[1] + 4) / dy)

    bone_cover, paint_bone = organs.draw_spine(spec, rng, grid, body.bone_scale)
    cover = {name: np.zeros((SIZE, SIZE), np.float32) for name in ("psoas", "back", "wall")}
    group = {"psoas": "psoas", "erector": "back", "quadratus": "back", "rectus": "wall", "oblique": "wall"}
    for muscle in body.muscles:
        shapes.add_cover(cover[group[muscle.kind]], grid.cover(muscle.outline))
    free = 1 - bone_cover
    cover["psoas"] *= free
    cover["back"] *= np.minimum(free, 1 - cover["psoas"])
    cover["wall"] *= 1 - np.maximum(cover["psoas"], cover["back"])
    rest_cover = np.maximum(cover["back"], cover["wall"])

    planes = np.zeros((SIZE, SIZE), np.float32)
    width = 0.60 * np.exp(0.20 * np.clip(spec.fascia_z, -3, 3))
    for muscle in body.muscles:
        edge = [np.vstack([muscle.outline, muscle.outline[:1]])] if muscle.kind in ("erector",) else []
        for line in muscle.planes + edge:
            own = width * np.exp(0.2 * rng.standard_normal())
            own *= {"oblique": 0.9, "psoas": 0.5}.get(muscle.kind, 1.0)
            shapes.add_cover(planes, grid.stroke(line, own))
    meat = 1 - 0.75 * planes
    weight_pm, weight_rest = cover["psoas"] * meat, rest_cover * meat
    muscle_hu = _parenchyma(spec, rng, grid, cover, body)

    outside = organs.draw_coat(spec, rng, grid, body.skin, body.table_y)
    shapes.paint(outside, grid.stroke(body.midline, 1.6), 25.0)  # linea alba and the aponeuroses
    paint_bone(outside)
    all_muscle = weight_pm + weight_rest
    outside += all_muscle * (muscle_hu - outside)
    cavity = grid.full(body.cavity) * (1 - np.maximum(np.maximum(cover["psoas"], rest_cover), bone_cover))
    psoas_edge = max(np.abs(m.outline[:, 0]).max() for m in body.muscles if m.kind == "psoas")
    visceral = organs.draw_viscera(spec, rng, grid, body.cavity, body.bone_scale, psoas_edge)

    # The in-plane point spread of the kernel; the pixel's own aperture is in the coverages already.
    sigma = spec.scanner.kernel_fwhm_mm / 2.3548
    blur = lambda field: ndimage.gaussian_filter(field, (sigma / dy, sigma / dx), truncate=2.5)  # noqa: E731
    outside, visceral, cavity = blur(outside), blur(visceral), blur(cavity)
    weights = blur(weight_pm), blur(weight_rest)
    noise = shapes.noise_slices(rng, n_slices, (dy, dx), spec.scanner.kernel_fwhm_mm)
    amplitude = organs.noise_amplitude(grid, body.skin) * np.float32(spec.scanner.noise_hu)

    l3 = n_slices // 2
    plain = outside + cavity * (visceral - outside)
    hand = ndimage.gaussian_filter(rng.standard_normal((SIZE, SIZE), dtype=np.float32), 4.0) * np.float32(2.5)
    distance = shapes.signed_distance_px(cover["psoas"]) + hand, shapes.signed_distance_px(rest_cover) + hand
    noisy = plain + amplitude * noise[l3]
    fit, fill = _meet_targets(spec, noisy, distance, weights, sm_window)
    if fit is None:
        return None, fill
    shift = np.float32(fit.shift_pm_hu) * weights[0] + np.float32(fit.shift_rest_hu) * weights[1]
    outside += shift

    reach = organs.field_of_view()
    hu = np.empty((n_slices, SIZE, SIZE), np.int16)
    lean = rng.normal(0, 0.25, 4)
    pixel = np.arange(SIZE, dtype=np.float32)
    for k in range(n_slices):
        z = k - l3
        if z == 0:
            picture = noisy + shift
        else:
            maps = []
            for growth, drift in ((0.004 + 0.003 * lean[0], lean[2]), (0.02 + 0.02 * lean[1], 2.2 + lean[3])):
                cx, cy = grid.origin_column, grid.origin_row
                wave = 0.8 * z * np.sin(pixel / 23 + 3 * drift) * (growth > 0.006)
                maps.append(
                    (cx + (pixel - cx) * (1 - growth * z) + wave, cy + (pixel - cy) * (1 - growth * z) + drift * z)
                )
            shell, space = _separable(outside, *maps[0]), _separable(cavity, *maps[0])
            picture = shell + space * (_separable(visceral, *maps[1]) - shell) + amplitude * noise[k]
        hu[k] = np.where(reach, np.clip(np.rint(picture), -1024, 3071), -1024)
    return DrawnPatient(hu, fit.sm, fit.pm, l3), fill
