"""What an archive and a container take from the repository agrees with the citation, and builds from the one lock."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
ZENODO = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("field", ["title", "version", "license", "keywords"])
def test_zenodo_says_what_the_citation_says(field):
    assert ZENODO[field] == CITATION[field]


def test_zenodo_names_the_same_authors_and_the_letter():
    assert [c["name"] for c in ZENODO["creators"]] == [a["name"] for a in CITATION["authors"]]
    assert [r["identifier"] for r in ZENODO["related_identifiers"]] == [r["doi"] for r in CITATION["references"]]
    assert ZENODO["upload_type"] == CITATION["type"]


def test_the_version_and_the_licence_are_those_of_the_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["version"], project["license"]) == (CITATION["version"], CITATION["license"])


def test_the_container_copies_what_is_there_and_installs_nothing_past_the_lock():
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    steps = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    for step in steps:
        word, _, rest = step.partition(" ")
        assert word in ("FROM", "RUN", "USER", "WORKDIR", "COPY", "CMD"), step
        if word == "COPY":
            for name in [part for part in rest.split()[:-1] if not part.startswith("--")]:
                assert (ROOT / name).exists(), step
    # Podman and Docker's older builder make a WORKDIR that is not there the superuser's, whatever USER is.
    (where,) = (k for k, step in enumerate(steps) if step.startswith("WORKDIR "))
    assert steps[where - 1] == steps[where].replace("WORKDIR", "RUN mkdir")
    assert "RUN make env" in steps and not re.search(r"pip3? install|conda|curl|wget", "".join(steps))
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert f">={re.search(r'FROM python:([0-9.]+)-', text)[1]}," in wanted


def test_no_patient_comes_into_an_image():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert {"data", "build", "figures/*"} <= set(ignored)
    # What is committed is not left out, or each run in a container would be one of changed files.
    assert [line for line in ignored if line.startswith("!")] == ["!figures/README.md"]


def test_binder_builds_from_the_same_lock():
    script = ROOT / "binder" / "postBuild"
    assert subprocess.run(["bash", "-n", script], capture_output=True, text=True).stderr == ""
    text = script.read_text(encoding="utf-8")
    assert "\nmake env\n" in text and "pip install" not in text and script.stat().st_mode & 0o111
    # Jupyter in a conda environment prefers the environment's kernels to the user's.
    assert '--prefix "$NB_PYTHON_PREFIX" --name python3\n' in text
    assert (ROOT / "binder" / "environment.yml").resolve() == ROOT / "environment.yml"
