"""Outlines of muscles, cavity and skin at L3: an individual body that holds the muscle areas asked for.

Lengths are in mm, in the frame of ``shapes``. Proportions were read off axial CT at L3; none is a measurement
to be cited.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial import ConvexHull

from analysis_lib.standin import shapes
from analysis_lib.standin.shapes import SIZE, Points
from analysis_lib.standin.spec import PatientSpec

# Right half of the template, mirrored for the other side.
_ERECTOR = np.array(
    [
        (7, 70),
        (6, 56),
        (8, 46),
        (18, 40),
        (30, 33),
        (46, 28),
        (62, 27),
        (74, 33),
        (79, 45),
        (75, 60),
        (62, 73),
    ]
    + [(44, 80), (26, 81), (13, 77)],
    dtype=float,
)
_ERECTOR_ANCHOR = np.array([5.0, 36.0])
_QUADRATUS = np.array([(45, 17), (54, 12), (66, 13), (76, 19), (80, 28), (74, 33), (62, 30), (50, 27)], dtype=float)
_QUADRATUS_ANCHOR = np.array([44.0, 24.0])
_PSOAS = np.array(
    [(22, -7), (27, -16), (36, -18), (45, -12), (50, 0), (49, 12), (43, 20), (32, 20), (24, 15), (21, 4)],
    dtype=float,
)
_PSOAS_ANCHOR = np.array([21.0, 16.0])


@dataclass
class Muscle:
    """A muscle in the slice: outline (n, 2) in mm, and the fascial planes (n, 2) that divide it."""

    outline: Points
    kind: str  # psoas, erector, quadratus, rectus or oblique
    side: int
    planes: list[Points]


@dataclass
class Body:
    """Outlines of one patient, in mm."""

    skin: Points
    cavity: Points
    muscles: list[Muscle]
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


def _paired_muscles(spec: PatientSpec, rng: np.random.Generator, bone: float, rest_mm2: float) -> list[Muscle]:
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
            muscles.append(Muscle(place(outline), kind, side, planes))
    return muscles


def _wall(
    spec: PatientSpec,
    rng: np.random.Generator,
    half_width: float,
    front: float,
    corners: dict[int, Points],
    area_mm2: float,
) -> tuple[list[Muscle], Points, Points, Points]:
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
            muscles.append(Muscle(between(side, -0.5, 0.5, *span), kind, side, planes))
    offsets = {s: normals[s] * (0.5 * thick[s] + 0.4)[:, None] for s in (1, -1)}

    def ring(sign: int) -> Points:
        return np.vstack([curves[1] + sign * offsets[1], (curves[-1] + sign * offsets[-1])[::-1]])

    return muscles, ring(-1), ring(1), np.vstack([curves[1], curves[-1][::-1]])


def _convex_radius(points: Points, centre: Points, theta: Points) -> Points:
    """Distance from ``centre`` to the convex hull of ``points`` in the directions ``theta``."""
    hull = points[ConvexHull(points).vertices]
    corner, dense = np.arange(len(hull) + 1), np.arange(0, len(hull), 0.1)
    edge = np.column_stack([np.interp(dense, corner, np.r_[c, c[0]]) for c in hull.T]) - centre
    angle, radius = np.arctan2(edge[:, 1], edge[:, 0]), np.hypot(*edge.T)
    order = np.argsort(angle)
    return np.interp(theta, angle[order], radius[order], period=2 * np.pi)


def _skin(spec: PatientSpec, rng: np.random.Generator, hull: Points, fat_mm: float) -> Points:
    """The skin round the muscles: their hull plus subcutaneous fat of individual distribution."""
    centre = np.array([0.0, 0.5 * (hull[:, 1].min() + hull[:, 1].max())])
    theta = np.linspace(-np.pi, np.pi, 361)[:-1]
    inner = _convex_radius(hull, centre, theta)  # fat fills the hollow between flank and back
    smooth = ndimage.gaussian_filter1d(ndimage.maximum_filter1d(inner, 5, mode="wrap"), 9, mode="wrap")
    front = np.maximum(-np.sin(theta), 0)
    back = np.maximum(np.sin(theta), 0)
    fat = fat_mm * (0.75 + 0.35 * front**2 + 0.30 * back**2 + 0.30 * np.exp(-(((back - 0.62) / 0.25) ** 2)))
    for k in (2, 3, 5):
        fat *= 1 + 0.05 * rng.standard_normal() * np.cos(k * theta + rng.uniform(0, 6.3))
    fat += (5.0 + 0.15 * fat_mm) * np.exp(-(((back - 0.62) / 0.32) ** 2))  # broad back of a supine body
    radius = np.maximum(smooth + fat, ndimage.gaussian_filter1d(inner, 2, mode="wrap") + 4.0 + 0.25 * fat_mm)
    around = np.column_stack([np.cos(theta), np.sin(theta)])
    radius = 0.3 * radius + 0.7 * _convex_radius(centre + radius[:, None] * around, centre, theta)
    furrow = (3.0 + 0.16 * fat_mm) * np.exp(-((np.abs(theta - np.pi / 2) / 0.13) ** 2))
    navel = (1.5 + 0.10 * fat_mm) * np.exp(-((np.abs(theta + np.pi / 2) / 0.06) ** 2)) * rng.uniform(0, 1)
    radius = ndimage.gaussian_filter1d(radius - furrow - navel, 2.5, mode="wrap")
    return centre + radius[:, None] * around


def outline_body(spec: PatientSpec, rng: np.random.Generator, rest_mm2: float) -> Body:
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
        shapes.area_mm2(m.outline) - 0.25 * shapes.perimeter_mm(m.outline) for m in muscles if m.kind != "psoas"
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
    return Body(skin, inner, muscles + wall, bone, midline, skin[:, 1].max() + 1.0)
