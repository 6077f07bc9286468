"""make explore in Chromium: the page has run when it opens; move a slider, read the numbers, write the parameters."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from finished import toy_params, toy_patients

from analysis_lib.core.parameters import load_params
from analysis_lib.ui import explore as x

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
TOKEN = "test-token"


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on the loopback over a copy of the project with a small finished study; gives its address."""
    for name in ("analysis_lib", "notebooks", "params"):
        shutil.copytree(
            ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
        )
    (tmp_path / "params" / "toy.yaml").write_text("base: smoke\n")
    build = tmp_path / "build" / "toy"
    build.mkdir(parents=True)
    patients = toy_patients()
    patients.to_parquet(build / "patients.parquet")
    patients[["patient_id"]].assign(set=patients["split"], risk=range(len(patients))).to_csv(
        build / "risk.csv", index=False
    )
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = {"PYTHONPATH": str(tmp_path), "EXPLORE_STUDY": "toy", "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "analysis_lib.ui.explore_app", "--no-browser", f"--port={port}", "--allow-root"]
    command += [f"--IdentityProvider.token={TOKEN}"]
    log = (tmp_path / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | own, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    for _ in range(900):
        if server.poll() is not None:
            pytest.fail((tmp_path / "lab.log").read_text()[-2000:])
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0 and (build / "explore.ipynb").is_file():
                break
        time.sleep(0.2)
    yield address, tmp_path
    server.terminate()
    server.wait(timeout=30)
    log.close()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_a_reader_opens_the_page_and_moves_a_cut_off(lab):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    address, folder = lab
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(f"{address}/?token={TOKEN}")  # as make explore opens it: no cell is run here
        page.locator(".explore-prevalence table").wait_for()
        controls, shown = (page.locator(c).bounding_box() for c in (".widget-dropdown >> nth=0", ".explore-summary"))
        assert shown["x"] >= controls["x"] + controls["width"]  # results stay in sight while a slider moves
        params = toy_params()
        start = x.Choice.of(params)
        assert _shown(page) == _expected(params, start)
        page.get_by_label("Definition").select_option("PMI")
        assert page.locator(".jp-CodeCell .jp-InputPlaceholder").count() == 1  # the code is folded
        slider = page.locator(".widget-slider", has_text="PMI men").locator(".widget-readout")
        slider.click()
        slider.fill("6.90")
        slider.press("Enter")
        moved = x.replace(start, definition="PMI").with_cut_off("PMI", 6.9, params.definitions["PMI"].women)
        expected = _expected(params, moved)
        assert expected != _expected(params, x.replace(start, definition="PMI"))
        playwright.expect(page.locator(".explore-summary")).to_contain_text(expected["hr"], timeout=60_000)
        assert _shown(page) == expected
        page.get_by_role("button", name="Write parameter file").click()
        page.get_by_text("make study STUDY=mytweak").wait_for()
        page.set_viewport_size({"width": 768, "height": 1000})
        boxes = [
            box for box in (e.bounding_box() for e in page.locator(".widget-slider, .explore-summary").all()) if box
        ]
        assert len(boxes) >= 4 and all(box["x"] >= 0 and box["x"] + box["width"] <= 768 for box in boxes)
        browser.close()
    written = load_params("mytweak", folder / "params")
    assert (written.definitions["PMI"].men, written.data_dir) == (6.9, "data/toy")


def _expected(params, choice) -> dict[str, str]:
    patients = toy_patients()
    risk = pd.Series(range(len(patients)), index=patients["patient_id"], dtype=float)
    result = x.explore(patients, risk, params, choice)
    hazard, auc = result.hazard, result.auc.set_index("model").at["TFDeepSurv", "auc"]
    counts = {r.definition: str(r.n_sarcopenic) for r in result.prevalence.itertuples()}
    return counts | {"hr": f"HR {hazard['hr']:.2f} ({hazard['low']:.2f}–{hazard['high']:.2f})", "auc": f"{auc:.3f}"}


def _shown(page) -> dict[str, str]:
    rows = page.locator(".explore-prevalence tr").all()[1:]
    counts = {name: count.split()[0] for name, count, _ in (row.locator("td").all_inner_texts() for row in rows)}
    summary = page.locator(".explore-summary").inner_text()
    hr = re.search(r"HR [^)]*\)", summary).group()
    return counts | {"hr": hr, "auc": re.search(r"TFDeepSurv: (\S+)", summary).group(1)}
