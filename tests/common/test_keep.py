"""Kept results: what they depend on, that they go when it changes and only then, and that damage is seen."""

from __future__ import annotations

import ast
import importlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from analysis_lib.common import code
from analysis_lib.common.code import code_key, modules_of, packages_of
from analysis_lib.common.keep import hash_of, keeping

SURVIVAL, COXNET = "survival/survival.py", "coxnet/deepsurv.py"
# Everything that is kept, and code that its numbers come from.
KEPT = {
    "analysis_lib.stages.autoencoder_report:joint_or_not": [SURVIVAL, COXNET],
    "analysis_lib.coxnet.model:timed_fit": [COXNET, "survival/cox.py", "coxnet/autoencoder.py"],
    "analysis_lib.coxnet.model:timed_partner": ["coxnet/partner.py", "survival/cox.py"],
    "analysis_lib.stages.comparators:timed_risk": ["survival/cox.py", "coxnet/partial_likelihood.py"],
    "analysis_lib.stages.refit:one_replicate": [SURVIVAL, COXNET, "cohort/cohort.py"],
    "analysis_lib.stages.optimism:replicates": [SURVIVAL, COXNET, "stages/refit.py"],
    "analysis_lib.stages.refit:refitted": [COXNET, "cohort/cohort.py"],
    "analysis_lib.stages.measured:measured_row": ["ct/indices.py", "ct/flags.py"],
    "analysis_lib.stages.features:whole_table": ["radiomics/plan.py", "cohort/sources.py"],
    "analysis_lib.coxnet.cross_validation:cross_validated_loss": [COXNET, "coxnet/partial_likelihood.py"],
    "analysis_lib.standin.faults:spoilt": ["standin/spec.py"],
    "analysis_lib.results.importance:importances_of": [COXNET, "survival/resampling.py"],
    "analysis_lib.results.power:one_draw": [SURVIVAL, "standin/patients.py"],
    "analysis_lib.review.fingerprint:_of_machine": [SURVIVAL, COXNET, "radiomics/plan.py", "pins.py"],
    "analysis_lib.ct.indices:load_images": ["ct/dicom_series.py", "ct/geometry.py"],
    "analysis_lib.stages.cases:load_case": ["ct/masks.py"],
    "analysis_lib.figures.drawn:files_of": ["figures/style.py", "figures/vector.py", "figures/fonts.py"],
    "analysis_lib.figures.fonts:cut_font": ["common/keep.py"],
    "analysis_lib.radiomics.fast_radiomics:extract": ["radiomics/plan.py"],
    "analysis_lib.standin.anatomy:draw_patient": ["standin/shapes.py"],
    "analysis_lib.survival.imputation:imputed_ratio": ["survival/cox.py"],
    "analysis_lib.survival.comparison:brier_intervals": ["survival/resampling_kernels.py", "survival/evaluation.py"],
    "analysis_lib.survival.survival:bootstrap_c_index": ["survival/resampling_kernels.py"],
    "analysis_lib.survival.survival:bootstrap_c_index_difference": ["survival/resampling.py"],
    "analysis_lib.survival.survival:auc_curve": ["survival/resampling_kernels.py"],
    "analysis_lib.survival.comparison:calibration_interval": ["survival/cox.py", "survival/evaluation.py"],
    "analysis_lib.survival.comparison:reclassification_intervals": ["survival/evaluation.py"],
    "analysis_lib.survival.decision:net_benefit": ["survival/decision.py", "survival/resampling_kernels.py"],
    "analysis_lib.survival.separation:separation": ["survival/resampling.py"],
}


def function(name: str):
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    return Path(shutil.copytree(code.LIBRARY, tmp_path_factory.mktemp("copy") / code.NAME))


def edited(path: Path, old: str, new: str) -> str:
    """The file's text before ``old`` was replaced in it."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return text


@pytest.mark.parametrize("name", KEPT)
def test_a_kept_result_goes_with_any_code_that_computes_it_and_with_no_other(name, copy):
    kept = function(name)
    before = code_key(kept, library=copy)
    assert before == code_key(kept)
    for changed in [*KEPT[name], "__init__.py"]:  # the last pins threads and kernels
        text = (copy / changed).read_text()
        (copy / changed).write_text(text + "\nCHANGED = 1\n")
        assert code_key(kept, library=copy) != before, changed
        (copy / changed).write_text(text)
        assert code_key(kept, library=copy) == before
    rooms = {"figures", "review", "ui"} - {name.split(".")[1]}
    texts = {path: path.read_text() for room in rooms for path in (copy / room).glob("*.py")}
    for path, text in texts.items():
        path.write_text(text + "\nCHANGED = 1\n")
    try:
        assert code_key(kept, library=copy) == before
    finally:  # the next function's code may lie in one of these rooms
        for path, text in texts.items():
            path.write_text(text)


def test_the_list_above_has_every_function_that_is_kept():
    called = set()
    for path in code.LIBRARY.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            calls = (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and path.name not in ("code.py", "keep.py")
            )
            if calls and node.func.id in ("keeping", "code_key", "code_of"):
                called.add(ast.unparse(node.args[0]).split(".")[-1])
    called.remove("function")  # whatever draws a figure, see tests/figures/test_drawn.py
    assert called == {name.partition(":")[2] for name in KEPT}


def test_comments_docstrings_and_layout_are_no_code(copy):
    path, kept = copy / SURVIVAL, function("analysis_lib.stages.autoencoder_report:joint_or_not")
    before = code_key(kept, library=copy)
    text = edited(path, '"""Harrell\'s C-index;', '"""The index of Harrell;  # and more')
    edited(path, "import warnings\n", "import warnings\n\n# a remark\n")
    assert code_key(kept, library=copy) == before
    path.write_text(text)


SCRIPT = """
import sys
import numpy as np
from analysis_lib.common.keep import keeping
from analysis_lib.survival.survival import c_index
time, event, risk = np.arange(1.0, 6), np.array([1, 0, 1, 1, 0]), np.array([3.0, 2, 5, 1, 4])
kept = keeping(c_index, sys.argv[1])
found = kept.known(kept.path(time, event, risk)) is not None
print(found, round(kept(time, event, risk), 3))
"""


def test_a_mended_c_index_is_computed_anew_and_a_new_colour_is_not(copy, tmp_path):
    def run() -> list[str]:
        command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
        found = subprocess.run(command, cwd=copy.parent, capture_output=True, text=True, check=True)
        return found.stdout.split()

    assert run() == ["False", "0.571"]
    (copy / "figures" / "plots.py").write_text("COLOUR = 1\n")
    assert run() == ["True", "0.571"]
    begins = "float(resampling.c_index_replicates("
    text = edited(copy / SURVIVAL, f"return {begins}", f"return 1 - {begins}")
    assert run() == ["False", "0.429"]
    (copy / SURVIVAL).write_text(text)
    assert run() == ["False", "0.571"], "the file is that of the code as it stands"


def test_what_a_module_uses_is_read_from_its_imports(tmp_path, monkeypatch):
    found = modules_of("analysis_lib.survival.survival")
    assert {"analysis_lib", "analysis_lib.survival", "analysis_lib.survival.resampling_kernels"} <= found.keys()
    assert {name.split(".")[1] for name in found if "." in name} == {"survival", "common", "pins"}
    packages = packages_of("analysis_lib.survival.survival")
    assert {"numpy", "scipy", "pandas", "numba", "lifelines"} == packages.keys()  # lifelines inside a function
    assert "analysis_lib.core.parameters" not in modules_of("analysis_lib.standin.patients")  # for annotations alone
    assert "scikit-survival" in packages_of("analysis_lib.stages.comparators")  # which is imported as sksurv
    # what a package loads when it is asked for: one name, or all where the package itself is imported
    script = tmp_path / "script.py"
    everything = {"agreement", "cox", "evaluation", "survival"}
    for text, more in (
        ("from analysis_lib.survival import icc_table", {"agreement"}),
        ("from analysis_lib import survival", everything),
    ):
        script.write_text(text)
        monkeypatch.setitem(sys.modules, "script", SimpleNamespace(__file__=str(script)))
        found = {name.removeprefix("analysis_lib.survival.") for name in modules_of("script")}
        assert found & everything == more
    with pytest.raises(ValueError, match="no module analysis_lib.nothing"):
        modules_of("analysis_lib.nothing")


def test_another_version_of_a_package_is_other_code(monkeypatch):
    kept = function("analysis_lib.stages.autoencoder_report:joint_or_not")
    before = code_key(kept)
    for package in ("numpy", "scipy", "tensorflow"):
        with monkeypatch.context() as other:
            versions = code._versions
            other.setattr(code, "_versions", lambda name, p=package, v=versions: ((p, "0"),) if name == p else v(name))
            assert code_key(kept) != before, package


CALLS: list[tuple] = []


def costly(a, b=2, *, quiet=False):
    CALLS.append((a, b))
    return {"sum": a + b, "frame": pd.DataFrame({"x": [a, float("nan")]})} if a >= 0 else None


def test_what_is_given_decides_and_what_is_set_apart_does_not(tmp_path):
    CALLS.clear()
    kept = keeping(costly, tmp_path, apart=("quiet",))
    first = kept(1)
    again = kept(1, b=2, quiet=True)
    assert CALLS == [(1, 2)] and again["sum"] == 3
    pd.testing.assert_frame_equal(again["frame"], first["frame"])
    kept(1, 3), kept(1.0, 2)
    assert CALLS == [(1, 2), (1, 3), (1.0, 2)]
    kept(-1), kept(-1)
    assert CALLS[3:] == [(-1, 2), (-1, 2)], "no answer is not kept"
    assert keeping(costly, None) is costly


@pytest.mark.parametrize("damage", [b"", b"{", b"[]\n", "half", "one bit", "tail"])
def test_a_damaged_file_is_computed_anew(damage, tmp_path):
    CALLS.clear()
    kept = keeping(costly, tmp_path)
    kept(1)
    path = kept.path(1)
    whole = path.read_bytes()
    flipped = whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]
    path.write_bytes({"half": whole[: len(whole) // 2], "one bit": flipped, "tail": whole + b"0"}.get(damage, damage))
    assert kept(1)["sum"] == 3 and len(CALLS) == 2
    assert path.read_bytes() == whole and list(path.parent.iterdir()) == [path]


def test_an_interrupt_while_writing_leaves_nothing_that_is_read(tmp_path, monkeypatch):
    CALLS.clear()
    kept = keeping(costly, tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            kept(1)
    assert list(kept.path(1).parent.iterdir()) == []
    kept(1), kept(1)
    assert len(CALLS) == 2


@dataclass
class Point:
    x: float
    y: object = None


def test_hashes_tell_values_apart_and_nothing_else():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": ["x", None], "c": pd.array([True, None], dtype="boolean")})
    values = [
        None, 0, 0.0, -0.0, False, "", "0", b"0", [], [[]], ["a", "b"], ["ab"], {}, {"a": 1}, {"a": 1.0}, np.nan,
        np.int64(0), np.zeros(2), np.zeros((2, 1)), np.zeros(2, np.float32), np.array(["a", None], object),
        np.array(["a", "None"], object),
        frame, frame[["b", "a", "c"]], frame.set_axis(["p", "q"]), frame.rename_axis("p"), frame.assign(b=["x", "y"]),
        frame["a"], frame["a"].rename("z"), frame.astype({"a": "float32"}), frame.index, Point(1.0), Point(1.0, "y"),
        frame.assign(c=pd.array([True, False], dtype="boolean")),
    ]  # fmt: skip
    assert len({hash_of(value) for value in values}) == len(values)
    assert hash_of(frame) == hash_of(frame.copy()) and hash_of((1, 2)) == hash_of([1, 2])
    assert hash_of(np.asfortranarray(np.eye(3))) == hash_of(np.eye(3))
    with pytest.raises(TypeError, match="no result can be kept by a set"):
        hash_of({1})
