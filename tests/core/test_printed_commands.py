"""Every command that README.md, CONTRIBUTING.md and docs/ print: known to make or to the command line, and run."""

import re
import shlex
import shutil
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from conftest import write_seg, write_series
from made import as_a_user, copy_checkout

from analysis_lib.core.project import Project
from analysis_lib.ui.command_line import _parser, main

ROOT = Path(__file__).resolve().parents[2]
START = r"(?:make [a-zA-Z]|\.venv/bin/python -m|python -m|[A-Z]+=\S+ python -m)"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# Which of the make commands are not run as they are printed, and why; a target stands for all its commands.
NOT_RUN = {
    "make reproduce": "needs internet: it clones and installs; what it checks is in tests/review/test_verify.py",
    "make env": "needs internet: it installs the environment",
    "make lock": "needs internet: it resolves the dependencies anew",
    "make lint": "rewrites the code that is tested",
    "make test": "runs the tests",
    "make test-slow": "runs the tests",
    "make evidence": "runs the tests that compare with published numbers",
    "make mutants": "runs the tests of survival once for each of 200 changes",
    "make bench": "takes minutes to hours, and other libraries beside ours",
    "make benchmark-survival CHECKOUT=FOLDER": "needs the folds and scores of others; tests/coxnet/test_neutral.py",
    "make explore": "stays open; tests/ui/test_explore_browser.py",
    "make study SCHEDULER=tcp://host:8786": "needs a cluster; tests/radiomics/test_cluster.py",
    "make fetch": "needs internet; tests/stages/test_fetch.py has it on the loopback",
    "make masks": "needs TotalSegmentator; tests/stages/test_make_masks.py has a stand-in for it",
    "make check STUDY=public_hcc_tace": "needs patients that are not ours to pass on",
    "make study STUDY=public_hcc_tace": "the same",
    "make export-model STUDY=public_waw_tace": "the same",
    "make validate STUDY=public_hcc_tace MODEL=build/public_waw_tace/model_to_share": "the same",
    "make study STUDY=public_hnscc": "the same; tests/stages/test_study.py has it where the table is there",
}
IN_A_SENTENCE = {"make compare"}  # needs two studies, and stands with them elsewhere
FIRST = ("make study STUDY=standin", "make study STUDY=smoke", "make study", "make export-model", "make expect")
FOR = {"STUDY": "smoke", "NAME": "smoke", "<study>": "smoke", "<name>": "smoke", "<stage>": "measure", "N": "1"}


def printed() -> list[str]:
    """All commands, without brackets of options, several of one line apart."""
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        lines = re.findall(rf"^ {{4}}({START}[^#\n]*)", text, re.MULTILINE) + re.findall(rf"`({START}[^`]*)`", text)
        found |= {" ".join(part.split()) for line in lines for part in line.split("&&")}
    return sorted(found)


@pytest.mark.parametrize("command", [c for c in printed() if c.startswith("make ")])
def test_make_knows_what_is_printed(command):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    _, target, *values = shlex.split(command)
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    for value in values:
        assert re.search(rf"\$[({{]?{value.split('=')[0]}\b|{value.split('=')[0]} \?=", makefile), value


@pytest.mark.parametrize(
    "command", [c for c in printed() if "-m analysis_lib" in c and "..." not in c.split("features ")[-1]]
)
def test_the_command_line_knows_what_is_printed(command):
    words = re.sub(r"[\[\]]|\.\.\.", " ", command.split("-m analysis_lib")[1])
    for name, value in FOR.items():
        words = re.sub(rf"(?<![\w-]){re.escape(name)}(?!\w)", value, words)
    if words.split() not in (["fit"], ["indices"]):  # a name in a sentence
        _parser(Project()).parse_args(shlex.split(words.replace("|", " ")))


@pytest.fixture
def small(tmp_path, compiled):
    """A copy of the checkout whose default study is as small as smoke, with the studies that the documents name."""
    copy = tmp_path / "checkout"
    copy.mkdir()
    copy_checkout(copy)
    for name in ("docs", "tests", "benchmarks"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in [*ROOT.glob("*.md"), *ROOT.glob("*.cff"), *ROOT.glob("*.yml"), ROOT / "LICENSE"]:
        shutil.copy2(path, copy)
    params = copy / "params"
    (params / "standin.yaml").rename(params / "full.yaml")
    smoke = (params / "smoke.yaml").read_text(encoding="utf-8").replace("base: standin", "base: full")
    for name in ("standin", "smoke"):
        (params / f"{name}.yaml").write_text(smoke, encoding="utf-8")
        shutil.rmtree(copy / "tests" / "expected" / name)
    same = "base: standin\ndata_dir: data/standin\n"
    readme, guide = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CONTRIBUTING.md"))
    own = {
        "mytweak": textwrap.dedent(re.search(r"^ {4}# params/mytweak.yaml\n((?: {4}.*\n)+)", readme, re.MULTILINE)[1]),
        "mydefinition": re.search(r"<!-- test: definition -->\n```yaml\n(.*?)```", guide, re.DOTALL)[1],
        **dict.fromkeys(("mysite", "clinic", "theirs"), same),
    }
    for name, text in own.items():
        (params / f"{name}.yaml").write_text(text, encoding="utf-8")
    return copy


@pytest.mark.slow
def test_make_commands_run_as_they_are_printed(small):
    """In the order of a reader: first the studies, what others need, then the rest."""
    commands = {c for c in printed() if c.startswith("make ") and not re.search(r"<|\.\.\.|NAME", c)} - IN_A_SENTENCE
    left_out = {c for c in commands if c in NOT_RUN or " ".join(c.split()[:2]) in NOT_RUN}
    assert set(NOT_RUN) <= left_out, "a reason for a command that is not printed"
    order = {c: len(FIRST) for c in commands if c.startswith("make study")} | {c: k for k, c in enumerate(FIRST)}
    order |= {c: 200 for c in commands if "clean" in c}  # what they remove is read by the others
    failed = []
    for command in sorted(commands - left_out, key=lambda c: (order.get(c, 100), c)):
        result = subprocess.run(shlex.split(command), cwd=small, env=as_a_user(), capture_output=True, text=True)
        if result.returncode:
            failed.append(f"{command}: {result.stdout[-1500:]}{result.stderr[-1500:]}")
        if command == "make export-model":  # what others send
            for place in (small / "theirs", small.parent / "from_them" / "model_to_share"):
                shutil.copytree(small / "build" / "standin" / "model_to_share", place)
    assert not failed, "\n\n".join(failed)


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with the files that the README's own lines name."""
    rng = np.random.default_rng(1)
    hu = rng.integers(-60, 110, size=(4, 40, 50)).astype(np.int16)
    hu[:, :, :5], hu[:, :, 5:9] = -1000, -100
    sm, pm = np.zeros(hu.shape, bool), np.zeros(hu.shape, bool)
    sm[2, 10:30, 12:40], pm[2, 15:22, 14:24] = True, True
    grid = write_series(tmp_path / "FOLDER", hu)
    write_seg(tmp_path / "FILE.seg.nrrd", {"SM": sm, "PM": pm}, grid)
    for name, values in (("ct", hu), ("mask", sm.astype(np.uint8))):
        sitk.WriteImage(grid.image_of(values), str(tmp_path / f"{name}.nii.gz"))
    pd.DataFrame({"Image": ["ct.nii.gz"], "Mask": ["mask.nii.gz"]}).to_csv(tmp_path / "cases.csv", index=False)
    (tmp_path / "params").symlink_to(ROOT / "params")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_commands_of_the_readme_run_as_they_are_printed(place, capsys):
    lines = re.findall(
        r"^ {4}\.venv/bin/python -m analysis_lib ([^#\n]*)", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert {line.split()[0] for line in lines} == {"indices", "features"}
    for line in lines:
        assert main(shlex.split(line)) == 0, capsys.readouterr().err
    assert len(pd.read_csv(place / "features.csv")) == 1
