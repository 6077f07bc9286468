"""IBSI's CT phantom, filter phantoms and validation cohort: this study's own reading and extraction against them.

What differs, and why: docs/ibsi.md, whose tables these tests hold (and write, in ``make evidence``).
"""

import fcntl
import itertools
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import yaml
from ibsi_values import SETTINGS, cohort_values, compared, family, ibsi_values, shares
from matplotlib import pyplot as plt
from radiomics import imageoperations

from analysis_lib.radiomics import fast_radiomics
from analysis_lib.radiomics.fast_classes import Region
from analysis_lib.radiomics.plan import read_plan
from analysis_lib.stages.cases import load_case

ROOT = Path(__file__).resolve().parents[2]
IBSI = ROOT.parent / "shared" / "data" / "ibsi"
PHANTOM = IBSI / "ibsi_1_ct_radiomics_phantom"
DOI = "[doi](https://doi.org/10.1148/radiol.2020191145)"
pytestmark = [
    pytest.mark.skipif(not IBSI.is_dir(), reason="IBSI's data not available beside the checkout"),
    pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning"),  # pykwalify's
]


def documented(name: str, lines: list[str]) -> None:
    """Hold the table ``name`` of docs/ibsi.md to ``lines``; ``make evidence`` writes it."""
    page = ROOT / "docs" / "ibsi.md"
    start = f"<!-- table: {name} -->\n"
    with page.open("r+", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before, _, rest = file.read().partition(start)
        table, _, after = rest.partition("<!-- end -->")
        if os.environ.get("EVIDENCE"):
            file.seek(0)
            file.truncate()
            file.write("".join([before, start, *(f"{line}\n" for line in lines), "<!-- end -->", after]))
        else:
            assert table.splitlines() == lines, f"docs/ibsi.md shows another table {name}; write it by make evidence"


# --- IBSI-1: the CT phantom ----------------------------------------------------------------------------------------


def phantom(form: str) -> tuple[sitk.Image, sitk.Image]:
    folder = PHANTOM / form
    image = folder / "image" if form == "dicom" else folder / "image" / "phantom.nii.gz"
    return load_case({"Image": str(image), "Mask": str(next((folder / "mask").iterdir()))})


@pytest.fixture(scope="module")
def dicom() -> tuple[sitk.Image, sitk.Image]:
    return phantom("dicom")


def consensus(configuration: str) -> pd.DataFrame:
    """Columns value, tolerance, by tag: that of the consensus, or half of the last printed digit where it is less.

    Three digits are printed of a feature, all of a diagnostic.
    """
    table = pd.read_csv(PHANTOM / f"reference_config_{configuration}.csv", sep=";", dtype=str).set_index("tag").dropna()
    values = table["reference value"].astype(float)
    decimals = table["reference value"].str.partition(".")[2].str.len()
    digit = np.where(
        table.index.map(family) == "diagnostics",
        10.0**-decimals,
        10.0 ** (np.floor(np.log10(values.abs().clip(lower=1e-9))) - 2),
    )
    return pd.DataFrame({"value": values, "tolerance": np.maximum(table["tolerance"].astype(float), 0.5000001 * digit)})


def variant(folder: Path, configuration: str, change) -> Path:
    """The configuration's parameter file, changed."""
    content = yaml.safe_load((SETTINGS / f"{configuration}.yaml").read_text(encoding="utf-8"))
    change(content)
    path = folder / f"{configuration}.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def _averaged(content: dict) -> None:
    del content["setting"]["weightingNorm"]
    content["featureClass"] = {"glcm": None, "glrlm": None}


@pytest.mark.parametrize("configuration", "abcde")
def test_ct_phantom_is_within_the_consensus(configuration: str, dicom, tmp_path: Path, evidence) -> None:
    ours = ibsi_values(*dicom, SETTINGS / f"{configuration}.yaml")
    ours |= ibsi_values(*dicom, variant(tmp_path, configuration, _averaged))
    theirs = consensus(configuration)
    theirs = theirs.loc[[tag for tag in theirs.index if tag in ours]]
    assert len(theirs) == len(ours) == 209  # all that PyRadiomics has, and what it was computed on
    name = f"{configuration.upper()} {{}}".format
    evidence(
        "ibsi1-ct-phantom",
        "radiomics",
        "IBSI-1 CT phantom from DICOM and RTSTRUCT, configurations A to E (benchmarks/ibsi), every feature that "
        "PyRadiomics has; tolerance of the consensus, or half of the last printed digit",
        f"IBSI consensus, {DOI}",
        {name(tag): value for tag, value in theirs["value"].items()},
        {name(tag): ours[tag] for tag in theirs.index},
        atol={name(tag): tolerance for tag, tolerance in theirs["tolerance"].items()},
    )


def test_ct_phantom_is_the_same_from_nifti(dicom) -> None:
    nifti = phantom("nifti")
    for one, other in zip(dicom, nifti, strict=True):
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(one), sitk.GetArrayViewFromImage(other))
        np.testing.assert_allclose(one.GetSpacing(), other.GetSpacing(), rtol=1e-12)
    values = [ibsi_values(*pair, SETTINGS / "c.yaml") for pair in (dicom, nifti)]
    assert values[0].keys() == values[1].keys()
    np.testing.assert_allclose(*[list(found.values()) for found in values], rtol=1e-9)


# What IBSI asks for and PyRadiomics does otherwise, in the order in which it is taken over.
STEPS = ("PyRadiomics alone", "grid by centres", "whole HU", "3 SD after the range", "levels from the range's start")


def _steps(content: dict) -> dict[str, dict | None]:
    """{step: section ibsi} of a configuration, None without the section; only the steps that change it."""
    wanted = content["ibsi"]
    found: dict[str, dict | None] = {STEPS[0]: None}
    so_far: dict = {}
    for step, key in zip(STEPS[1:], (None, "round_intensities", "outlier_sd", "first_level_at"), strict=True):
        if content["setting"].get("resampledPixelSpacing") if key is None else key in wanted:
            so_far = so_far if key is None else so_far | {key: wanted[key]}
            found[step] = so_far
    return found


@pytest.mark.slow
def test_what_pyradiomics_does_otherwise_on_the_ct_phantom(dicom, tmp_path: Path) -> None:
    """Features outside the consensus with PyRadiomics' own processing, and after each step of IBSI's that is taken."""
    lines = [f"| configuration | features | {' | '.join(STEPS)} |", "|---" * (len(STEPS) + 2) + "|"]
    for configuration in "abcde":
        reference = consensus(configuration)
        reference = reference[[family(tag) != "diagnostics" for tag in reference.index]]
        outside = {}
        steps = _steps(yaml.safe_load((SETTINGS / f"{configuration}.yaml").read_text(encoding="utf-8")))
        for step, section in steps.items():

            def change(content: dict, section=section) -> None:
                del content["ibsi"]
                content |= {} if section is None else {"ibsi": section}

            ours = pd.Series(ibsi_values(*dicom, variant(tmp_path, configuration, change)))
            known = reference.loc[[tag for tag in reference.index if tag in ours]]
            outside[step] = int(((ours[known.index] - known["value"]).abs() > known["tolerance"]).sum())
        assert outside[list(steps)[-1]] == 0
        cells = [str(outside.get(step, "")) for step in STEPS]
        lines.append(f"| {configuration.upper()} | {len(known)} | {' | '.join(cells)} |")
    documented("steps", lines)


# --- IBSI-2: filters -----------------------------------------------------------------------------------------------


def filtered(volume: np.ndarray, kind: str, settings: dict, name: str, folder: Path) -> np.ndarray:
    """The response of one filter of this study on a whole volume of 2 mm, (z, y, x)."""
    image = sitk.GetImageFromArray(volume.astype(np.float32))
    image.SetSpacing((2.0, 2.0, 2.0))
    if settings.get("level", 1) > 1:  # which the extraction leaves to PyRadiomics
        images = getattr(imageoperations, f"get{kind}Image")(image, None, **settings)
        return next(sitk.GetArrayFromImage(found) for found, other, _ in images if other == name)
    path = folder / "filter.yaml"
    path.write_text(yaml.safe_dump({"imageType": {kind: settings}, "setting": {"binWidth": 1}}), encoding="utf-8")
    whole = Region(tuple(slice(0, n) for n in volume.shape), np.ones(volume.shape, bool), image.GetSpacing())
    images = fast_radiomics._images(image, whole, read_plan(path))
    return next(values.reshape(volume.shape) for other, values, _ in images if other == name)


ORDERS = tuple(itertools.permutations(range(3)))  # of the axes


def turned(volume: np.ndarray, response, orders=ORDERS) -> np.ndarray:
    """Mean of the responses in the 24 orientations of a cube, which IBSI calls rotation invariant.

    A filter that is the same along all axes needs one order of them, with its 8 reflections.
    """
    found = []
    for order in orders:
        for signs in itertools.product((1, -1), repeat=3):
            if len(orders) == 1 or np.linalg.det(np.eye(3)[list(order)]) * np.prod(signs) > 0:
                flips = tuple(slice(None, None, sign) for sign in signs)
                found.append(response(volume.transpose(order)[flips])[flips].transpose(np.argsort(order)))
    assert len(found) == (24 if len(orders) > 1 else 8)
    return np.mean(found, axis=0)


def stretched(first, second):
    """The second level of an undecimated transform: ``second`` on every other voxel of what ``first`` gives."""

    def both(volume: np.ndarray) -> np.ndarray:
        low = first(volume)
        out = np.empty_like(low)
        for start in itertools.product((0, 1), repeat=3):
            every_other = tuple(slice(k, None, 2) for k in start)
            out[every_other] = second(low[every_other])
        return out

    return both


def within(margin: int, mode: str, response):
    """The response of a volume that is continued by ``margin`` voxels first."""

    def padded(volume: np.ndarray) -> np.ndarray:
        inner = (slice(margin, -margin),) * 3
        return response(np.pad(volume, margin, mode=mode))[inner]

    return padded


def by_slice(response):
    """The response in the plane of a filter in space: of each slice, repeated along z."""

    def stacked(volume: np.ndarray) -> np.ndarray:
        slices, which = np.unique(volume, axis=0, return_inverse=True)
        return np.stack([response(np.repeat(one[None], 40, axis=0))[20] for one in slices])[which.ravel()]

    return stacked


SCALE = "PyRadiomics multiplies by (sigma / voxel)²"
FLAT = "PyRadiomics has no LoG in the plane, force2D or not"
RECURSIVE = "ITK's recursive filter is an approximation, worst for an impulse and a sigma of 1.5 voxels"
UNSTRETCHED = "PyRadiomics' second level repeats the filter of the first, not stretched to every other voxel"


def responses(folder: Path) -> dict[str, tuple]:
    """{quantity: (reference, phantom, response, why it differs, or nothing)}."""

    def log(sigma: float, divided: bool):
        scale = (sigma / 2) ** 2 if divided else 1
        name = f"log-sigma-{sigma:.0f}-0-mm-3D"
        return lambda volume: filtered(volume, "LoG", {"sigma": [sigma]}, name, folder) / scale

    def wavelet(kind: str, name: str, **settings):
        return lambda volume: filtered(volume, "Wavelet", {"wavelet": kind, **settings}, name, folder)

    db2, coif1 = wavelet("db2", "wavelet-LHL"), wavelet("coif1", "wavelet-HHL")

    def second_level(band: str, stretch: bool):
        first, second = wavelet("haar", "wavelet-LLL"), wavelet("haar", f"wavelet-{band}")
        own = wavelet("haar", f"wavelet2-{band}", level=2)
        one = within(8, "symmetric", stretched(first, second) if stretch else own)
        return lambda volume: turned(volume, one, orders=((0, 1, 2),))

    return {
        "2.a LoG, 3 mm": ("2_a", "impulse", log(3.0, False), SCALE),
        "2.a LoG, 3 mm, divided": ("2_a", "impulse", log(3.0, True), RECURSIVE),
        "2.b LoG, 5 mm": ("2_b", "checkerboard", log(5.0, False), SCALE),
        "2.b LoG, 5 mm, divided": ("2_b", "checkerboard", log(5.0, True), ""),
        "2.c LoG, 5 mm, in the plane, divided": ("2_c", "checkerboard", log(5.0, True), FLAT),
        "2.c slices one by one, divided": (
            "2_c",
            "checkerboard",
            within(12, "symmetric", by_slice(log(5.0, True))),
            "",
        ),
        "5.a.1 db2 LHL": ("5_a_1", "impulse", db2, ""),
        "5.a.2 db2 LHL, turned": ("5_a_2", "impulse", lambda volume: turned(volume, db2), ""),
        "6.a.1 coif1 HHL": ("6_a_1", "sphere", coif1, ""),
        "6.a.2 coif1 HHL, turned": ("6_a_2", "sphere", lambda volume: turned(volume, coif1), ""),
        "7.a.1 haar LLL, level 2, turned": ("7_a_1", "checkerboard", second_level("LLL", False), UNSTRETCHED),
        "7.a.1 stretched": ("7_a_1", "checkerboard", second_level("LLL", True), ""),
        "7.a.2 haar HHH, level 2, turned": ("7_a_2", "checkerboard", second_level("HHH", False), UNSTRETCHED),
        "7.a.2 stretched": ("7_a_2", "checkerboard", second_level("HHH", True), ""),
    }


def phantom2(name: str) -> np.ndarray:
    path = IBSI / "ibsi_2_digital_phantom" / "nifti" / name / "image" / f"{name}.nii.gz"
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).astype(float)


def reference_map(name: str) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(IBSI / "ibsi_2_reference" / f"{name}-ValidCRM.nii.gz")))


@pytest.mark.slow
def test_response_maps_of_the_filters(tmp_path: Path, evidence) -> None:
    theirs, ours, tolerance, explained = {}, {}, {}, {}
    lines = ["| response | largest difference, % of the map's range | voxels beyond 1% | why |", "|---|---|---|---|"]
    for quantity, (name, image, response, why) in responses(tmp_path).items():
        theirs[quantity], ours[quantity] = reference_map(name), response(phantom2(image))
        tolerance[quantity] = 0.01 * float(np.ptp(theirs[quantity]))
        explained |= {quantity: why} if why else {}
        percent = np.abs(ours[quantity] - theirs[quantity]) / np.ptp(theirs[quantity]) * 100
        lines.append(f"| {quantity} | {max(percent.max(), 0.001):.3f} | {(percent > 1).sum()} | {why} |")
    if os.environ.get("EVIDENCE"):
        draw_maps(theirs, ours, ROOT / "docs" / "ibsi_log.png")
    documented("filters", lines)
    evidence(
        "ibsi2-response-maps",
        "radiomics",
        "IBSI-2 digital phantoms, response maps of LoG and separable wavelets; 1% of the map's range",
        "IBSI-2 reference maps, [doi](https://doi.org/10.1148/radiol.231319)",
        theirs,
        ours,
        atol=tolerance,
        explained=explained,
    )


def draw_maps(theirs: dict, ours: dict, path: Path) -> None:
    """Reference, ours and the difference of the middle slice, for the two LoG that PyRadiomics has."""
    fig, axes = plt.subplots(2, 3, figsize=(7, 4.4), layout="constrained")
    for row, quantity in zip(axes, ("2.a LoG, 3 mm, divided", "2.b LoG, 5 mm, divided"), strict=True):
        reference, mine = theirs[quantity][32], ours[quantity][32]
        span = np.ptp(theirs[quantity])
        for ax, title, shown, limit in (
            (row[0], f"{quantity[:3]} IBSI", reference, span / 2),
            (row[1], "ours / (sigma / voxel)²", mine, span / 2),
            (row[2], "difference, % of range", (mine - reference) / span * 100, 1.5),
        ):
            drawn = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit)
            fig.colorbar(drawn, ax=ax, shrink=0.8)
            ax.set(title=title, xticks=[], yticks=[])
    fig.savefig(path, dpi=80, metadata={"Software": None})
    plt.close(fig)


# --- IBSI's validation cohort --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_validation_cohort_has_the_submitted_values(evidence) -> None:
    submitted = pd.read_csv(IBSI / "ibsi_validation" / "pyradiomics_ct_values.csv")
    both = compared(submitted, cohort_values(IBSI / "ibsi_validation" / "dicom", sorted(submitted["id"].unique())))
    lines = ["| class | values | equal to 1e-6, % | equal to 1e-3, % |", "|---|---|---|---|"]
    lines += [
        f"| {n} | {c} | {100 * six:.1f} | {100 * three:.1f} |"
        for n, c, six, three in shares(both).itertuples(index=False)
    ]
    documented("cohort", lines)
    parts = {name: part for name, part in both.groupby("family", sort=False)}
    evidence(
        "ibsi-validation-cohort",
        "radiomics",
        "IBSI validation cohort, CT of six patients from DICOM and RTSTRUCT, 165 values each",
        "PyRadiomics' own team, 2019, [theibsi/ibsi_1_data_analysis](https://github.com/theibsi/ibsi_1_data_analysis)",
        {name: part["value"].to_numpy() for name, part in parts.items()},
        {name: part["ours"].to_numpy() for name, part in parts.items()},
        rtol=1e-6,
    )
