"""The examples of CONTRIBUTING.md run, and the checklists of docs/reporting.md are complete."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from finished import toy_patients

from analysis_lib.core import parameters as params_module
from analysis_lib.results.table2 import table_two
from analysis_lib.standin.patients import StandinError, calibrated

ROOT = Path(__file__).resolve().parents[2]


def example(name: str) -> str:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    return re.search(rf"<!-- test: {name} -->\n```\w+\n(.*?)```", text, flags=re.DOTALL).group(1)


def defined(name: str) -> dict:
    space: dict = {}
    exec(compile(example(name), f"CONTRIBUTING.md, {name}", "exec"), space)
    return space


def test_a_definition_is_a_few_lines_of_yaml(tmp_path):
    for name in ("defaults", "standin", "smoke"):
        (tmp_path / f"{name}.yaml").write_bytes((params_module.PARAMS_DIR / f"{name}.yaml").read_bytes())
    (tmp_path / "mine.yaml").write_text(example("definition"), encoding="utf-8")
    params = params_module.load_params("mine", tmp_path)
    table = table_two(toy_patients(), params.definitions, params.cohort, params.statistics)
    rows = table[table["definition"] == "JSH"]
    patients = toy_patients()
    expected = patients["smi"] < patients["sex"].map({"M": 42, "F": 38})
    assert rows.groupby("set")["n_sarcopenic"].first().sum() == expected.sum()
    assert yaml.safe_load(example("definition"))["definitions"]["JSH"]["doi"].startswith("10.")


def test_a_definition_in_every_study_leaves_the_synthetic_patients_as_they_are():
    params = params_module.load_params("smoke")
    jsh = params_module.DefinitionParams(**yaml.safe_load(example("definition"))["definitions"]["JSH"])
    chosen = calibrated(params.standin, params.definitions | {"JSH": jsh})
    assert chosen == params.definitions
    part = params.standin.sets["lt"].model_copy(
        update={"sarcopenic": {"JSH": 3, **params.standin.sets["lt"].sarcopenic}}
    )
    wrong = params.standin.model_copy(update={"sets": {"lt": part}})
    with pytest.raises(StandinError, match="JSH is no definition"):
        calibrated(wrong, params.definitions)
    with pytest.raises(StandinError, match="two definitions of smi"):
        calibrated(wrong, params.definitions | {"JSH": jsh})


def test_an_index_is_a_column():
    table = defined("index")["add_psoas_share"](pd.DataFrame({"pm_area_cm2": [15.0], "sm_area_cm2": [150.0]}))
    assert table["pm_to_sm"].tolist() == [0.1]


@pytest.mark.filterwarnings("ignore")
def test_a_model_is_a_column_of_risks():
    patients = toy_patients()
    risk = defined("model")["clinical_risk"](patients)
    assert risk.index.tolist() == patients["patient_id"].tolist() and np.isfinite(risk).all()
    changed = patients.assign(os_months=patients["os_months"].where(patients["split"] == "train", 1.0))
    pd.testing.assert_series_equal(defined("model")["clinical_risk"](changed), risk)  # test patients have no say


def test_a_figure_is_drawn_from_a_frame():
    fig = defined("figure")["risk_histogram"](pd.DataFrame({"risk": np.arange(50.0)}))
    assert len(fig.axes) == 1


TRIPOD = (
    "1 2 3a 3b 3c 4 5a 5b 6a 6b 6c 7 8a 8b 8c 9a 9b 9c 10 11 12a 12b 12c 12d 12e 12f 12g 13 14 15 16 17 18a 18b 18c "
    "18d 18e 18f 19 20a 20b 20c 21 22 23a 23b 24 25 26 27a 27b 27c"
)


@pytest.mark.parametrize(
    ("heading", "items"),
    [
        ("TRIPOD+AI", TRIPOD.split(" ")),
        ("CLEAR", [str(k) for k in range(1, 59)]),
        ("METRICS", [str(k) for k in range(1, 31)]),
        ("IBSI reporting list", [str(k) for k in range(1, 77)]),
    ],
)
def test_every_item_of_a_checklist_has_its_answer(heading, items):
    text = (ROOT / "docs" / "reporting.md").read_text(encoding="utf-8")
    section = text.split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if re.match(r"\| \d", line)]
    assert {row[2].strip() for row in rows} <= {"yes", "part", "site", "missing", "n/a"}
    found: list[str] = []
    for row in rows:
        for part in row[0].split(", "):
            ends = [int(re.match(r"\d+", end).group()) for end in part.split("-")]
            ranged = [str(k) for k in range(ends[0], ends[-1] + 1)]
            found += ranged if heading.startswith("IBSI") else [part]
    assert list(dict.fromkeys(found)) == items


def test_the_places_that_the_checklists_name_exist():
    text = (ROOT / "docs" / "reporting.md").read_text(encoding="utf-8")
    for place in set(re.findall(r"`((?:docs|params|analysis_lib|tests|notebooks)/[^`]+)`", text)):
        assert list(ROOT.glob(place)), place
