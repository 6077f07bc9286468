"""make site: every page opens, no link is dead, no request goes elsewhere, no patient's row is told."""

import re
import shutil
from pathlib import Path, PurePosixPath

import pytest
from finished import toy_study

from analysis_lib.core.project import Project
from analysis_lib.review.site import SiteError, _relinked, _with_ids, dead_links, write_site

CHROMIUM = shutil.which("chromium")


@pytest.fixture(scope="module")
def site(template, tmp_path_factory):
    """The site of the toy study with this checkout's documents."""
    root = tmp_path_factory.mktemp("site")
    shutil.copytree(template, root, dirs_exist_ok=True)
    for folder in (".", "tests"):
        for path in (Project().root / folder).iterdir():
            if path.name not in ("build", "figures", "data", ".git") and not (root / folder / path.name).exists():
                (root / folder / path.name).symlink_to(path)
    return write_site(toy_study(root)).parent


def test_the_site_has_the_verdict_the_report_notebooks_and_documents(site):
    first = (site / "index.html").read_text(encoding="utf-8")
    assert "110 synthetic patients" in first and 'href="report.html"' in first
    for page in ("notebooks/02_sarcopenia.html", "documents/README.html", "documents/docs/own_data.html"):
        assert (site / page).is_file() and f'href="{page}"' in first, page
    assert (site / "documents" / "docs" / "gallery" / "patients.png").is_file()
    for path in site.rglob("*.html"):
        text = re.sub(r"data:[^\"]*", "", path.read_text(encoding="utf-8"))
        assert "D9999" not in text and "D0001" not in text, path
        assert not re.search(r"<link|@import|<script [^>]*src", text), path
    assert dead_links(site) == []


def test_links_between_documents_become_links_of_the_site(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "params" / "a.yaml").touch()
    documents = {PurePosixPath("README.md"): "documents/README.html"}
    documents[PurePosixPath("docs/a.md")] = "documents/docs/a.html"
    cases = {
        '<a href="../README.md#quick">R</a>': '<a href="../../documents/README.html#quick">R</a>',
        '<a href="../params/a.yaml">p</a>': "<span>p</span>",
        '<a href="https://doi.org/10">d</a>': '<a href="https://doi.org/10">d</a>',
        '<a href="#here">h</a>': '<a href="#here">h</a>',
        '<a href="nothing.md">n</a>': '<a href="nothing.md">n</a>',  # dead, and so found by dead_links
    }
    for text, wanted in cases.items():
        assert _relinked(text, PurePosixPath("docs/a.md"), documents, tmp_path, tmp_path) == wanted
    assert (
        _with_ids("<h2>What `make` runs again</h2><h2>What make runs again</h2>").count('id="what-make-runs-again') == 2
    )


@pytest.mark.parametrize(
    ("link", "dead"),
    [
        ("b.html", 0),
        ("b.html#there", 0),
        ("b.html#gone", 1),
        ("c.html", 1),
        ("#gone", 1),
        ("#own", 0),
        ("https://x", 0),
    ],
)
def test_a_dead_link_is_found(tmp_path: Path, link, dead):
    (tmp_path / "a.html").write_text(f'<h1 id="own">a</h1><a href="{link}">b</a>')
    (tmp_path / "b.html").write_text('<h1 id="there">b</h1>')
    assert dead_links(tmp_path) == [f"a.html: {link}"] * dead


def test_a_study_that_has_not_run_is_named(tmp_path):
    with pytest.raises(SiteError, match="make study STUDY=nothing"):
        write_site(toy_study(tmp_path, "nothing"))


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
def test_the_pages_open_in_chromium_wide_and_narrow(site):
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, errors, asked = browser.new_page(viewport={"width": 1280, "height": 800}), [], []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.get_by_role("link", name="02_sarcopenia").click()
        assert page.locator("nav a[aria-current]").inner_text() == "02_sarcopenia"
        page.get_by_role("link", name="own_data", exact=True).click()
        assert page.locator("main h1").first.is_visible()
        page.set_viewport_size({"width": 390, "height": 800})
        for name in ("index.html", "documents/docs/own_data.html", "documents/README.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        assert errors == [] and not [url for url in asked if not url.startswith(("file:", "data:"))]
        browser.close()
