"""The report of a finished study in Chromium, wide and narrow, and what it says."""

import re
import shutil

import pandas as pd
import pytest
from finished import toy_study

from analysis_lib.core.parameters import load_params
from analysis_lib.results.published import KEYS, printed_numbers
from analysis_lib.review.methods import methods
from analysis_lib.review.record import read_run
from analysis_lib.review.report import ReportError, beside, render, write_report

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def root(template, tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    shutil.copytree(template, root, dirs_exist_ok=True)
    study = toy_study(root)
    (study.figures / "report.html").write_text(render(study, read_run(study)), encoding="utf-8")
    return root


@pytest.fixture
def study(root):
    return toy_study(root)


def test_report_is_one_file_without_anything_from_elsewhere(root):
    html = (root / "figures" / "toy" / "report.html").read_text(encoding="utf-8")
    sources = re.findall(r'(?:src|srcset|href)="([^"#]*)', html)
    outside = [s for s in sources if "//" in s and not s.startswith("data:")]
    assert outside == ["https://doi.org/10.1631/jzus.B2300363"]  # a link, not something that is loaded
    assert not re.search(r"<link|@import|url\(|<script [^>]*src", html)
    text = re.sub(r"data:[^\"']+", "", html)  # any five letters may occur in an encoded picture
    assert "Synthetic images and outcomes" in text and "D9999" not in text and "D0001" not in text


def test_report_follows_the_letter_and_links_the_notebooks(root):
    html = (root / "figures" / "toy" / "report.html").read_text(encoding="utf-8")
    order = [html.index(f'<section id="{stem}">') for stem in ("fig1", "table1", "table2", "fig2", "fig3", "c_index")]
    assert order == sorted(order)
    assert f"The numbers of doi {printed_numbers()['doi']} beside ours" in html
    for href in re.findall(r'href="([^"#:]+)"', html):
        assert (root / "figures" / "toy" / href).is_file(), href
    for image in re.findall(r"<img [^>]*>", html):
        assert len(re.search(r'alt="([^"]*)"', image).group(1)) > 60


@needs_chromium
@pytest.mark.parametrize("width", [1280, 360])
def test_report_in_chromium(root, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": width, "height": 800})
        asked, errors = [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((root / "figures" / "toy" / "report.html").as_uri())
        assert [url for url in asked[1:] if not url.startswith("data:")] == [] and errors == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        broken = "Array.from(document.images).filter(i => !i.complete || i.naturalWidth === 0).length"
        assert page.evaluate(broken) == 0
        extended = page.locator("#extended ~ details:has(table)").first
        table = extended.locator("table").first
        assert not table.is_visible()
        extended.locator("summary").first.click()
        assert table.is_visible()
        assert page.locator("#table2 details table").first.is_visible()  # the letter's numbers, unfolded
        page.emulate_media(media="print")
        assert not page.locator("nav").is_visible()
        browser.close()


@needs_chromium
def test_pdf_of_the_report(study):
    html, pdf = write_report(study)
    assert pdf.read_bytes().startswith(b"%PDF") and pdf.stat().st_size > 20_000


def test_without_a_browser_the_report_is_html_alone(study, monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert [p.name for p in write_report(study)] == ["report.html"]
    assert "HTML only" in capsys.readouterr().out


def test_a_study_that_has_not_run_is_named(root):
    with pytest.raises(ReportError, match="make study STUDY=nothing"):
        write_report(toy_study(root, "nothing"))


def test_published_numbers_stand_in_one_row_with_interval_and_p():
    ratio, count = ("Table 2", "discovery", "PMA", "OS", "HR"), ("Table 2", "discovery", "PMA", "", "sarcopenic")
    rows = pd.DataFrame(
        [
            (*ratio, "estimate", 1.58, 1.3446, True),
            (*ratio, "low", 1.07, 0.9, None),
            (*ratio, "high", 2.35, 2.0, None),
            (*ratio, "P", 0.02, 0.14, None),
            (*count, "n", 216, 215, None),
            (*count, "%", 43.9, 43.7, True),
            ("Table 1", "lt", "", "", "age", "mean", 55.9, None, None),
            ("Table 1", "lt", "", "", "age", "SD", 11.1, None, None),
        ],
        columns=[*KEYS, "published", "ours", "inside"],
    )
    assert beside(rows, load_params("smoke").cohort).values.tolist() == [
        ["Discovery", "PMA OS HR", "1.58 (1.07–2.35) P=0.02", "1.34 (0.90–2.00) P=0.14", "yes"],
        ["Discovery", "PMA sarcopenic, n (%)", "216 (43.9%)", "215 (43.7%)", "yes"],
        ["External LT test", "age, years, mean ± SD", "55.9 ± 11.1", "NA", ""],
    ]


def test_methods_follow_the_parameters(root):
    params = load_params("standin")
    patients = pd.read_parquet(root / "build" / "toy" / "patients.parquet")
    changed = params.model_copy(
        update={
            "network": params.network.model_copy(update={"dropout": 0.37, "ties": "breslow", "strata": "centre"}),
            "autoencoder": params.autoencoder.model_copy(update={"joint": True}),
            "features": params.features.model_copy(update={"min_icc": 0.75}),
            "stability": params.stability.model_copy(update={"patients": 40}),
            "clinical": params.clinical.model_copy(update={"tumour_threshold_cm": 3.0}),
            "optimism": params.optimism.model_copy(update={"repeats": 0, "permutations": 0}),
        }
    )
    before, after = (" ".join(text for _, text in methods(p, patients, 1343)) for p in (params, changed))
    assert "dropout 0.37" in after and "Breslow's ties" in after and "dropout 0.37" not in before
    for text in ("trained together", "stratified by centre", "at least 0.75 in 40", "tumour diameter > 3 cm"):
        assert text in after and text not in before, text
    assert "fitted again to 50 random splits" in before and "fitted again" not in after
    for name in ("Firth", "Benjamini-Hochberg", "Schoenfeld", "Brier", "Decision curves", "competing risk"):
        assert name in before, name
    assert "below 6.36 (men) or 3.92 (women) cm²/m²" in before and "[" not in before
