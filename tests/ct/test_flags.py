"""Every flag of a measurement is raised by the fault that it is for, and by no neighbour of that fault."""

import base64
import io
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from ct_files import change_all
from finished import toy_patients, toy_study
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from analysis_lib.core.parameters import PARAMS_DIR, Params, load_params
from analysis_lib.core.project import Project, Study
from analysis_lib.ct.body import judge_slice, level, parts_of
from analysis_lib.ct.contrast import phase_of_header, phase_of_hu
from analysis_lib.ct.ct import read_ct
from analysis_lib.ct.flags import FLAGS, flag_table, raised
from analysis_lib.ct.indices import measure
from analysis_lib.ct.settings import NUMBERS, FlagParams
from analysis_lib.review.check import check_study
from analysis_lib.review.methods import methods
from analysis_lib.review.report import _flags
from analysis_lib.stages.measure import measure_patients
from analysis_lib.ui.command_line import main

IMAGES = load_params("defaults").images
PIXEL_MM = 2.0
SHAPE = (160, 220)  # 320 x 440 mm
SLICES = 5
Y, X = ((np.arange(n) + 0.5) * PIXEL_MM - n * PIXEL_MM / 2 for n in SHAPE)


def ellipse(x_mm, y_mm, width_mm, height_mm):
    """Pixels within half axes of an ellipse about a point, mm from the middle of the picture."""
    return ((X[None, :] - x_mm) / width_mm) ** 2 + ((Y[:, None] - y_mm) / height_mm) ** 2 <= 1


def person(half=(150.0, 100.0), at=(0.0, 0.0), curve_mm=0.0, right=1.0, noise=12.0):
    """A patient at L3: HU, and the segments SM, PM, aorta and vertebra; ``curve_mm``, ``right`` of a scoliosis."""
    rng = np.random.default_rng(4)
    (width, height), (x, y) = half, at
    hu = rng.normal(-1000, noise, SHAPE)

    def scaled(factor):
        return ellipse(x, y, width * factor, height * factor)

    hu[scaled(1)] = -100
    wall = scaled(0.86) & ~scaled(0.76)
    hu[scaled(0.76)] = -90
    spine = x + curve_mm
    back = ellipse(spine - 0.22 * width, y + 0.5 * height, 22 * right, 16) | ellipse(
        spine + 0.22 * width, y + 0.5 * height, 22, 16
    )
    psoas = ellipse(spine - 0.25 * width, y + 0.15 * height, 15 * right**0.5, 15) | ellipse(
        spine + 0.25 * width, y + 0.15 * height, 15, 15
    )
    muscle = wall | back | psoas
    hu[muscle] = 50
    aorta, vertebra = ellipse(spine, y, 9, 9), ellipse(spine, y + 0.3 * height, 18, 16)
    hu[aorta], hu[vertebra] = 45, 200
    hu[ellipse(x + 20, y - 0.4 * height, 30, 18)] = -950  # bowel gas
    hu += rng.normal(0, noise, SHAPE) * (hu > -500)
    return hu, {"SM": muscle, "PM": psoas, "aorta": aorta, "vertebrae_L3": vertebra}


def with_arms(distance_mm, radius_mm=32.0, drawn=True):
    hu, masks = person()
    for side in (-1, 1):
        arm = ellipse(side * distance_mm, 10, radius_mm, radius_mm)
        inner = ellipse(side * distance_mm, 10, radius_mm * 0.75, radius_mm * 0.75)
        hu[arm], hu[inner] = -100, 50
        masks["SM"] = masks["SM"] | (inner & drawn)
    return hu, masks


def with_table(gap_mm, drawn=True, thick_mm=4.0):
    hu, masks = person()
    top = 100 + gap_mm
    table = (np.abs(X) < 120)[None, :] & (top < Y)[:, None] & (top + thick_mm > Y)[:, None]
    hu[table] = -20
    return hu, masks | {"SM": masks["SM"] | (table & drawn)}


def cropped(hu_masks, left, right):
    hu, masks = hu_masks
    keep = slice(int(left), int(SHAPE[1] - right))
    return hu[:, keep], {name: mask[:, keep] for name, mask in masks.items()}


def in_circle(hu_masks, radius_mm, padding=-1024):
    """Reconstructed in a circle, beyond which all is padding."""
    hu, masks = hu_masks
    inside = np.hypot(Y[:, None], X[None, :]) <= radius_mm
    return np.where(inside, hu, padding), {name: mask & inside for name, mask in masks.items()}


def one_side(name, side=0):
    hu, masks = person()
    half = np.broadcast_to(X[None, :] < side, SHAPE)
    return hu, masks | {name: masks[name] & half}


def without(*parts_mm):
    """The muscle without these parts (x, y, half axes in mm) of a side."""
    hu, masks = person()
    for part in parts_mm:
        masks["SM"] = masks["SM"] & ~ellipse(*part)
    return hu, masks


def flags_of(hu, masks):
    chosen = {key: masks[key.upper()] for key in ("sm", "pm")}
    numbers, fault, _ = judge_slice(hu, chosen, (PIXEL_MM, PIXEL_MM), IMAGES.body)
    return set(raised(numbers | {"phase": "unknown"}, IMAGES.flags)), numbers, fault


FAULTS = {
    "arms beside the body": (with_arms(187), {"arms"}),
    "arms that touch the flank": (with_arms(178), {"arms"}),
    "arms pressed to the flank": (with_arms(172, 36), {"arms"}),
    "wrists that touch the flank": (with_arms(166, 19), {"arms"}),
    "a strip on the table": (with_table(6), {"outside the body"}),
    "a thick pad apart from the back": (with_table(6, thick_mm=12), {"outside the body"}),
    "cut on the left": (cropped(person(), 0, 60), {"cut by the field of view", "muscle at the edge"}),
    "cut on both sides, fat alone": (cropped(person(), 41, 41), {"cut by the field of view"}),
    "cut by the circle": (in_circle(person(), 120), {"cut by the field of view", "muscle at the edge"}),
    "cut by the circle that fits, in air like the padding": (
        in_circle(person((205.0, 120.0), noise=0), 160, -1000),
        {"cut by the field of view", "muscle at the edge"},
    ),
    "no psoas on the left": (one_side("PM"), {"psoas of one side"}),
    "half the muscle": (one_side("SM"), {"muscle of one side"}),
    "no abdominal wall on the right": (
        without((-130, 0, 60, 75)),
        {"muscle of one side"},
    ),
}
NEIGHBOURS = {
    "a normal patient": person(),
    "thin": person((105.0, 58.0)),
    "obese, near the edge": person((212.0, 150.0)),
    "not in the middle": person((120.0, 85.0), (60.0, -40.0)),
    "a scoliosis": person(curve_mm=10, right=1.15),
    "arms that nobody drew": with_arms(178, drawn=False),
    "a table that nobody drew": with_table(4, drawn=False),
    "a table that touches": with_table(-1, drawn=False, thick_mm=12),
    "a small field of view": cropped(person(), 32, 32),
    "a circle around the body": in_circle(person(), 156),
    "noise-free air": person(noise=0),
    "round, and air without noise": person((140.0, 138.0), noise=0),
    "air cut at -1000": (np.maximum(person()[0], -1000), person()[1]),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_raises_its_flag_and_no_other(name):
    case, expected = FAULTS[name]
    found, numbers, fault = flags_of(*case)
    assert found == expected, numbers
    assert fault.any() or expected & {"psoas of one side", "muscle of one side"}


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_neighbour_raises_none(name):
    found, numbers, _ = flags_of(*NEIGHBOURS[name])
    assert found == set(), numbers


def test_the_numbers_are_areas_and_shares():
    hu, masks = with_arms(187)
    numbers = flags_of(hu, masks)[1]
    drawn = 2 * np.pi * (0.75 * 3.2) ** 2
    assert numbers["arms_area_cm2"] == pytest.approx(drawn, rel=0.02)
    assert numbers["arms_share"] == pytest.approx(numbers["arms_area_cm2"] / (masks["SM"].sum() * 0.04), rel=1e-12)
    strip = flags_of(*with_table(6))[1]["outside_area_cm2"]
    assert strip == pytest.approx(24 * 0.4, rel=0.02)
    assert flags_of(*one_side("PM"))[1]["pm_left_share"] == pytest.approx(0, abs=0.01)
    sides = flags_of(*person())[1]
    assert sides["sm_left_share"] == pytest.approx(0.5, abs=0.01) == sides["pm_left_share"]


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 60), st.integers(1, 60))
def test_air_around_a_body_changes_none_of_its_parts(seed, above, left):
    """Nothing is seen of it but the parts near the body."""
    rng, body = np.random.default_rng(seed), load_params("defaults").images.body
    y, x = np.mgrid[:70, :90]
    picture = np.full(y.shape, -1000.0)
    for _ in range(5):  # ellipses of tissue and gas
        centre, radii = rng.uniform(0, 90, 2), rng.uniform(2, 30, 2)
        inside = ((y - centre[0]) / radii[0]) ** 2 + ((x - centre[1]) / radii[1]) ** 2 < 1
        picture[inside] = rng.choice([40.0, -100.0, -1000.0])
    picture[:2], picture[-2:], picture[:, :2], picture[:, -2:] = (-1000.0,) * 4
    spacing = tuple(rng.uniform(0.5, 4, 2))
    wide = np.pad(picture, ((above, 10), (left, 10)), constant_values=-1000.0)
    near, far = parts_of(picture, spacing, body), parts_of(wide, spacing, body)
    assert (near is None) == (far is None)
    if near is not None:
        own = slice(above, above + 70), slice(left, left + 90)
        for one, other in ((near.trunk, far.trunk), (near.limbs, far.limbs)):
            assert (one == other[own]).all() and one.sum() == other.sum()


def test_a_picture_without_air_has_no_body_but_an_edge():
    hu, masks = person()
    inside = (slice(50, 110), slice(60, 160))
    hu[hu < -400] = -90
    numbers, _, midline = judge_slice(hu[inside], {"sm": masks["SM"][inside]}, (PIXEL_MM, PIXEL_MM), IMAGES.body)
    assert list(numbers) == ["fov_muscle_area_cm2"] and np.isnan(midline)
    assert parts_of(np.full((20, 20), -1000.0), (1.0, 1.0), IMAGES.body) is None


@pytest.mark.parametrize(
    ("counted", "offset", "beyond"), [([4], 0, 0), ([5], 5, 0), ([3, 4], -5, 0), ([1], -15, 7.5), ([8, 4], 20, 12.5)]
)
def test_the_level_is_that_of_the_body_of_the_vertebra(counted, offset, beyond):
    pixels = np.array([0, 0, 30, 200, 210, 190, 80, 0, 0])  # slices 3 to 5; 2 and 6 show processes alone
    found = level(pixels, np.arange(9) * 5.0 - 100, counted, 5.0, IMAGES.body.vertebra_share)
    assert found == (offset, beyond, (-87.5, -72.5))


@pytest.mark.parametrize(
    ("aorta", "kidney", "phase"),
    [
        (40, 30, "unenhanced"), (300, 150, "arterial"), (300, np.nan, "arterial"), (150, 190, "venous"),
        (210, 230, "venous"), (110, 130, "venous"), (np.nan, 30, "unenhanced"), (np.nan, 160, "enhanced"),
        (np.nan, np.nan, ""),
    ],
)  # fmt: skip
def test_phase_by_aorta_and_kidneys(aorta, kidney, phase):
    assert phase_of_hu(aorta, kidney, IMAGES.phase) == phase


@pytest.mark.parametrize(
    ("description", "agent", "phase"),
    [
        ("ABD ART 1.5 B30f", "", "arterial"), ("Late arterial", "", "arterial"), ("HAP", "OMNIPAQUE", "arterial"),
        ("PORTAL VENOUS", "", "venous"), ("Abdomen venös", "", "venous"), ("A/P_PV", "Ultravist 300", "venous"),
        ("DELAYED 3 MIN", "IV", "delayed"), ("ABD W/O", "", "unenhanced"), ("Abdomen nativ 5.0", "", "unenhanced"),
        ("NON-CONTRAST", "Omnipaque", "unenhanced"), ("Abdomen 5.0", "OMNIPAQUE 350", "enhanced"),
        ("ART + PV", "", "unknown"), ("ART + PV", "Imeron", "enhanced"), ("Abdomen", "NONE", "unknown"),
        ("", "", "unknown"), ("AVENUE PARTNER", "", "unknown"), ("Recon 3: Start", "No", "unknown"),
    ],
)  # fmt: skip
def test_phase_by_words_of_the_header(description, agent, phase):
    assert phase_of_header(description, agent) == phase


def test_a_limit_is_data():
    rule = {"mine": FlagParams(column="lowest_hu", high=-900, says="no air; look")}
    assert raised({"lowest_hu": -800.0}, rule) == {"mine": "mine: lowest_hu is -800, above -900; no air; look"}
    assert raised({"lowest_hu": np.nan}, rule) == raised({"lowest_hu": -900.0}, rule) == raised({}, rule) == {}
    for wrong in ({"column": "smi"}, {"low": 2.0, "high": 1.0}, {"column": "phase", "among": ["plain"]}):
        with pytest.raises(ValueError, match="column must|must not be above|among names plain"):
            FlagParams(**{"column": "lowest_hu", "says": "x", **wrong})
    table = pd.DataFrame({"lowest_hu": [-1000.0, -800.0, np.nan], "flags": ["", "mine", "mine more"]})
    (row,) = flag_table(table, rule).to_dict("records")
    assert row == {
        "flag": "mine", "number": "lowest_hu", "patients": 1, "of": 2, "values": "-1e+03 to -800",
        "limit": "above -900",
    }  # fmt: skip


# ---- on disk ------------------------------------------------------------------------------------------------


def write_patient(folder, name, case, levels=(1, 2, 3), header=None):
    """CT of five slices, masks on the middle one, the vertebra on ``levels``."""
    hu, masks = case
    volume = np.round(np.repeat(hu[None], SLICES, axis=0)).astype(np.int16)
    geometry = write_series(
        folder / "ct" / name, volume, spacing=(PIXEL_MM, PIXEL_MM), SeriesInstanceUID=f"1.2.{len(name)}.{ord(name[-1])}"
    )
    if header:
        change_all(folder / "ct" / name, **header)
    segments = {}
    for key, mask in masks.items():
        segments[key] = np.zeros((SLICES, *hu.shape), bool)
        segments[key][list(levels) if key == "vertebrae_L3" else [2]] = mask
    write_seg(folder / "masks" / f"{name}.seg.nrrd", segments, geometry)


def enhanced(value=150):
    hu, masks = person()
    hu[masks["aorta"]] = value
    return hu, masks


def no_air():
    """Air cut at -700 HU: these may be no HU."""
    hu, masks = person()
    return np.maximum(hu, -700), masks


CASES = {
    "normal": ((person(),), ""),
    "arms": ((with_arms(178),), "arms"),
    "table": ((with_table(6),), "outside the body"),
    "level": ((person(), (3, 4)), "not L3"),
    "fov": ((cropped(person(), 41, 41),), "cut by the field of view"),
    "edge": ((cropped(person(), 0, 60),), "cut by the field of view; muscle at the edge"),
    "psoas": ((one_side("PM"),), "psoas of one side"),
    "muscle": ((without((-130, 0, 60, 75)),), "muscle of one side"),
    "venous": ((enhanced(),), "contrast"),
    "header": (
        ((person()[0], {k: v for k, v in person()[1].items() if k != "aorta"}), (1, 2, 3),
         {"SeriesDescription": "ABD ART Mustermann"}), "contrast",
    ),
    "values": ((no_air(),), "doubtful HU"),
}  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("flags")
    data = root / "data" / "mine"
    for name, (arguments, _) in CASES.items():
        write_patient(data, name, *arguments)
    rows = [f"{name},kiel,M,60,1.7,{30 + k},{k % 2}" for k, name in enumerate(CASES)]
    (data / "patients.csv").write_text("\n".join(["patient_id,set,sex,age,height_m,os_months,os_event", *rows, ""]))
    shutil.copytree(Project().params_dir, root / "params")
    return root


def study_of(root, **images):
    params = load_params("defaults").model_dump()
    params["images"] |= images
    params |= {"study": "mine", "workers": 1, "cohort": {"sets": {"kiel": {"label": "Kiel", "role": "train"}}}}
    return Study(Params.model_validate(params | {"features": {}}), Project(root))


def red(uri):
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))).astype(int)
    return int(((picture[..., 0] > 180) & (picture[..., 1] < 90) & (picture[..., 2] < 90)).sum())


def test_make_check_shows_every_flag_with_its_picture_and_warning(folder, capsys):
    found = check_study(study_of(folder), quiet=True)
    table = found.table.set_index("patient_id")
    assert table["flags"].to_dict() == {name: flags for name, (_, flags) in CASES.items()}
    assert {name for _, flags in CASES.values() for name in flags.split("; ") if name} == set(IMAGES.flags)
    for name, (_, flags) in CASES.items():
        assert table.at[name, "status"] == ("warning" if flags else "ok")
        assert all(f"{flag}: " in table.at[name, "warnings"] for flag in flags.split("; ") if flag)
        shown = red(found.pictures[name])
        assert (shown > 10) == (name not in ("normal", "venous", "header", "values")), (name, shown)
    page = (folder / "build" / "mine" / "check" / "check.html").read_text()
    assert page.count('"status": "warning"') == len(CASES) - 1 and "Mustermann" not in page
    assert "venous 1" in page and "arterial 1" in page


def test_measured_has_the_numbers_and_exclusion_is_a_parameter(folder, capsys):
    study = study_of(folder)
    measure_patients(study, quiet=True)
    assert "flags of 11 measured patients: " in capsys.readouterr().err
    measured = study.measured().set_index("patient_id")
    assert set(FLAGS) <= set(measured.columns) and study.measured_exclusions().empty
    assert measured.at["level", "l3_beyond_mm"] == 2.5 and measured.at["level", "l3_offset_mm"] == -7.5
    others = {"venous": "venous", "header": "arterial"}
    assert measured["phase"].to_dict() == dict.fromkeys(CASES, "unenhanced") | others
    assert measured.at["venous", "aorta_hu"] == pytest.approx(150, abs=3)
    assert measured[list(NUMBERS)].dtypes.eq(float).all()
    by_height = measured["nama_area_cm2"] / measured["height_m"] ** 2
    pd.testing.assert_series_equal(measured["nama_index"], by_height, check_names=False)
    whole = measured["nama_area_cm2"] + measured["lama_area_cm2"]
    np.testing.assert_allclose(whole, measured["sm_area_cm2"], rtol=1e-12)
    rules = {name: rule.model_dump() | {"exclude": name in ("arms", "not L3")} for name, rule in IMAGES.flags.items()}
    strict = study_of(folder, flags=rules)
    measure_patients(strict, quiet=True)
    reasons = strict.measured_exclusions().set_index("patient_id")["reason"]
    assert sorted(reasons.index) == ["arms", "level"] and reasons["arms"].startswith("arms: arms_share is 0.")
    checked = check_study(strict, quiet=True)
    table = checked.table.set_index("patient_id")
    assert table.at["arms", "status"] == table.at["level", "status"] == "refused" and checked.usable == len(CASES) - 2
    assert red(checked.pictures["arms"]) > 10 and table.at["arms", "reason"] == reasons["arms"]


def test_the_command_for_one_patient_says_the_flags(folder, capsys):
    data = folder / "data" / "mine"
    pair = ["indices", "--ct", str(data / "ct" / "arms"), "--mask", str(data / "masks" / "arms.seg.nrrd")]
    assert main([*pair, "--height-m", "1.7"]) == 0
    shown = capsys.readouterr().out
    assert "flag         arms: arms_share is 0." in shown and "nama_index" in shown
    assert main([*pair, "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["ct"]["flags"]) == ["arms"]


def test_files_beside_those_of_the_muscles_are_read_and_may_be_damaged(tmp_path):
    hu, segments = enhanced()
    write_patient(tmp_path, "one", (hu, {"SM": segments["SM"], "PM": segments["PM"]}))
    grid = read_ct(tmp_path / "ct" / "one").geometry
    for name, mask in segments.items():
        volume = np.zeros((SLICES, *SHAPE), np.uint8)
        volume[[3, 4] if name == "vertebrae_L3" else [2]] = mask
        (tmp_path / "folder").mkdir(exist_ok=True)
        sitk.WriteImage(grid.image_of(volume), str(tmp_path / "folder" / f"{name}.nii.gz"))
    (tmp_path / "folder" / "kidney_left.nii.gz").write_bytes(b"no mask")
    row = measure(tmp_path / "ct" / "one", tmp_path / "folder", IMAGES)
    assert row["phase"] == "venous" and np.isnan(row["kidney_hu"]) and row["l3_beyond_mm"] == 2.5
    assert row["flags"] == "not L3; contrast"


def test_the_report_tells_the_flags_and_who_was_left_out_for_one(tmp_path):
    study = toy_study(tmp_path)
    assert _flags(study) == ""
    patients = toy_patients()
    numbers = dict.fromkeys(NUMBERS, 0.0) | {"phase": "unenhanced", "flags": ""}
    study.build.mkdir(parents=True)
    study.write_measured(patients.assign(**numbers))
    assert _flags(study).startswith(f"None of {len(patients)} patients was flagged (arms, ")
    numbers["flags"] = ["arms", "not L3; arms", *[""] * (len(patients) - 2)]
    study.write_measured(patients.assign(**numbers))
    (arms,) = [row for row in _flags(study).split("<tr") if ">arms<" in row]
    assert [">2<" in arms, f">{len(patients)}<" in arms, "above 0.02" in arms] == [True] * 3
    rules = {name: rule.model_copy(update={"exclude": name == "arms"}) for name, rule in IMAGES.flags.items()}
    strict = study.params.model_copy(update={"images": IMAGES.model_copy(update={"flags": rules})})
    said = " ".join(text for _, text in methods(strict, patients, 1343))
    assert "Patients whose measurement was flagged (arms) were excluded." in said


def test_the_flags_of_the_documentation_are_a_parameter_file(tmp_path):
    text = (Path(__file__).resolve().parents[2] / "docs" / "own_data.md").read_text(encoding="utf-8")
    example = re.search(r"<!-- test: flags -->\n```yaml\n(.*?)```", text, flags=re.DOTALL)[1]
    (tmp_path / "defaults.yaml").write_bytes((PARAMS_DIR / "defaults.yaml").read_bytes())
    (tmp_path / "mine.yaml").write_text(f"base: defaults\n{example}", encoding="utf-8")
    flags = load_params("mine", tmp_path).images.flags
    assert set(IMAGES.flags) - set(flags) == {"muscle of one side"} and flags["arms"].exclude
    assert flags["arms"].says == IMAGES.flags["arms"].says
    numbers = {"l3_offset_mm": 12.0, "arms_share": 0.04, "phase": "venous"}
    assert list(raised(numbers, flags)) == ["far from the middle of L3"]
    # The table of the page has the limits of the defaults.
    for name, rule in IMAGES.flags.items():
        (row,) = [line.split(" | ") for line in text.splitlines() if line.startswith(f"| {name} | `")]
        assert f"`{rule.column}`" in row[1]
        ends = {float(end) for end in (rule.low, rule.high) if end is not None}
        assert set(map(float, re.findall(r"[\d.]+(?![\d\w])", row[2].replace("cm2", "")))) == ends, name
