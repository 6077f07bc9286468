"""What make runs again after a change of code: what uses it, and nothing else; and that every rule asks."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from analysis_lib.common.code import code_of_modules, modules_of, modules_of_notebook
from analysis_lib.core.artefacts import ALL_NOTEBOOKS
from analysis_lib.core.prepare import STAGES, drawn_to, write_code
from analysis_lib.core.project import Project

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {
    "cohort": "cohort.done",
    "measure": "measured.parquet",
    "features": "features.parquet",
    "assemble": "patients.parquet",
    "exclusions": "exclusions.parquet",
    "stability": "stability.done",
    "optimism": "optimism.csv",
    "10_stability": "10_stability.done",
}
ALWAYS = {"15_multiverse", "16_search", "17_validation"}  # run whenever make is asked for them
TARGETS |= {name: f"notebooks/{name}.ipynb" for name in ALL_NOTEBOOKS if name not in {*TARGETS, *ALWAYS}}


@pytest.fixture(scope="module")
def prerequisites() -> dict[str, list[str]]:
    """Of each target of a study that make knows, explicit ones and those of its pattern."""
    listed = subprocess.run(["make", "-np", "STUDY=smoke", "study"], cwd=ROOT, capture_output=True, text=True).stdout
    found = re.findall(r"^build/smoke/([^:%=\s]+):(?!=)(.*)$", listed, re.MULTILINE)
    return {target: needs.split() for target, needs in found}


@pytest.mark.parametrize("name", TARGETS)
def test_every_rule_asks_for_the_code_that_it_runs(name, prerequisites):
    assert f"build/code/{name}.txt" in prerequisites[TARGETS[name]]


@pytest.mark.parametrize("name", TARGETS)
def test_every_rule_asks_whether_its_files_are_whole(name, prerequisites):
    assert f"build/smoke/again/{name}" in prerequisites[TARGETS[name]]


def test_each_stage_is_done_by_the_module_that_the_command_line_calls():
    tree = ast.parse((ROOT / "analysis_lib" / "ui" / "command_line.py").read_text())
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    for stage, module in STAGES.items():
        imported = {node.module for node in ast.walk(functions[f"_{stage}"]) if isinstance(node, ast.ImportFrom)}
        assert module in imported, stage


def test_the_rooms_that_each_stage_uses():
    def rooms(stage: str) -> set[str]:
        return {name.split(".")[1] for name in modules_of(STAGES[stage]) if "." in name}

    for stage in STAGES:
        assert not rooms(stage) & {"figures", "results", "review", "ui"}, stage
    assert {"coxnet", "survival", "cohort", "stages"} <= rooms("optimism")
    assert {"ct", "radiomics"} <= rooms("features") and "analysis_lib.survival.cox" not in modules_of(
        STAGES["features"]
    )
    assert "analysis_lib.survival.survival" in modules_of(STAGES["optimism"])
    flowchart = "analysis_lib.figures.flowchart"
    users = [p.stem for p in (ROOT / "notebooks").glob("*.ipynb") if flowchart in modules_of(*modules_of_notebook(p))]
    assert users == ["01_cohort"]


def test_patients_are_drawn_again_to_another_published_cut_off(tmp_path):
    shutil.copytree(ROOT / "params", tmp_path / "params")
    (tmp_path / "params" / "own.yaml").write_text("base: smoke\ndefinitions: {PMI: {men: 5.0, women: 3.0}}\n")
    (tmp_path / "params" / "reads.yaml").write_text("base: smoke\ndata_dir: data/smoke\n")
    (tmp_path / "params" / "real.yaml").write_text("base: defaults\ntitle: Mine\n")

    def drawn(*names: str) -> list[dict]:
        return [drawn_to(Project(tmp_path).study(name)) for name in names]

    smoke, own, reads, real = drawn("smoke", "own", "reads", "real")
    assert smoke == own and reads == real == {}  # not the study's own definition; and patients of others or real ones
    defaults = tmp_path / "params" / "defaults.yaml"
    text, (old, new) = defaults.read_text(), (f"men: {smoke['PMA']['men']:g}", "men: 16.5")
    assert text.count(old) == 1
    defaults.write_text(text.replace(old, new))
    changed, *others = drawn("smoke", "reads", "real")
    assert changed["PMA"]["men"] == 16.5 and changed != smoke and others == [reads, real]


def test_a_file_changes_with_its_code_alone(tmp_path):
    write_code(Project(), tmp_path)
    before = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert before.keys() >= {f"{name}.txt" for name in TARGETS}
    text = (tmp_path / "measure.txt").read_text()
    assert text.splitlines() == list(code_of_modules(STAGES["measure"])) and "analysis_lib.ct.ct=" in text
    (tmp_path / "features.txt").write_text("older code")
    write_code(Project(), tmp_path)
    after = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert {name for name in after if after[name] != before[name]} == {"features.txt"}
