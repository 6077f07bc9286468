"""One self-contained HTML page of a finished study, and a PDF of it where Chromium is at hand.

Everything is inside the file: pictures, tables to take along, notebooks, style and script. No link leads to a file
beside it, so the page can be mailed.
"""

from __future__ import annotations

import base64
import io
import shutil
import subprocess
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import ValidationError

from analysis_lib.common.errors import StudyError
from analysis_lib.common.files import replacing, write_text
from analysis_lib.common.formatting import NOT_AVAILABLE, format_estimate, format_p
from analysis_lib.core.artefacts import ALL_NOTEBOOKS, describe, notebook_of, produced, published_beside, stems
from analysis_lib.core.parameters import CohortParams, Params
from analysis_lib.core.project import Study
from analysis_lib.ct.flags import flag_table
from analysis_lib.figures.style import label_synthetic
from analysis_lib.figures.tables import html_table, table2_for_reading
from analysis_lib.figures.vector import svg_text
from analysis_lib.results.published import printed_numbers, quantity_text
from analysis_lib.results.table1 import table_one_for_reading
from analysis_lib.results.table2 import TABLE2_BESIDE
from analysis_lib.results.table2_extended import extended_for_reading
from analysis_lib.review.facts import Facts, facts, fill
from analysis_lib.review.glance import forest_of, strip_of
from analysis_lib.review.guard import Patients, as_it_may_leave
from analysis_lib.review.methods import methods
from analysis_lib.review.pages import STYLE, notebook_piece
from analysis_lib.review.protocol import standing
from analysis_lib.review.reading import for_reading
from analysis_lib.review.record import read_run
from analysis_lib.review.verdict import verdict_of

TEMPLATE = Path(__file__).with_name("report.html.j2")
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
SHOWN_PACKAGES = [
    *("numpy", "scipy", "pandas", "scikit-learn", "scikit-survival", "lifelines", "tensorflow", "keras", "pyradiomics"),
    *("SimpleITK", "pydicom", "numba", "matplotlib", "joblib", "papermill"),
]
LONGEST_ON_PAPER = 60  # rows
WIDEST_UPRIGHT = 14  # columns; a wider table lies on its side on paper
LONGEST_TABLE = 400  # rows on the page; longer tables, as of every feature, are in their CSV
FOLDED_FROM = 25  # rows; what a table has beyond is folded
LARGEST_TAKEN_ALONG = 100_000  # bytes of a CSV inside the page
LARGEST_VECTOR = 1_500_000  # bytes of an SVG; of a larger one the page has the pixels


class ReportError(StudyError):
    """There is no finished study to report; the message says what to run."""


def write_report(study: Study) -> list[Path]:
    """Write ``report.html``, and ``report.pdf`` if a browser is there; returns the paths."""
    run = read_run(study)
    if run is None:
        raise ReportError(f"study '{study.name}' has not been run; {study.command}")
    study = replace(study, params=_of_the_run(study, run))
    html = study.figures / "report.html"
    write_text(html, render(study, run))
    pdf = study.figures / "report.pdf"
    pdf.unlink(missing_ok=True)
    return [html, pdf] if _write_pdf(render(study, run, unfolded=True), pdf) else [html]


def _of_the_run(study: Study, run: dict) -> Params:
    """The parameters that the run used, which the report tells of; ReportError where they can no longer be read."""
    try:
        return Params.model_validate(run["parameters"])
    except ValidationError:
        raise ReportError(
            f"the run of '{study.name}' was made by another version of the project; {study.command}"
        ) from None


def render(study: Study, run: dict, unfolded: bool = False) -> str:
    """HTML text of the report; ``unfolded`` opens the folds, for paper."""
    params, found, guard = study.params, facts(study), Patients(study)
    there = produced(study)
    shown = [stem for stem in stems(params) if any(Path(f).stem == stem for f in there)]
    entries = [_entry(study, stem, there, found, guard) for stem in shown]
    if "paper_comparison.csv" in there:
        comparison = study.comparison()
        for entry in entries:
            rows = wanted.of(comparison) if (wanted := published_beside(entry["stem"], params)) else ()
            entry["published"] = html_table(beside(rows, params.cohort), unbroken=True) if len(rows) else None
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        params=params,
        run=run,
        found=found,
        note=study.note,
        style=Markup(STYLE),
        verdict=verdict_of(study),
        **_first_pictures(study),
        letter=printed_numbers()["doi"],
        printed=printed_numbers(params.published)["doi"],
        paper=[e for e in entries if e["part"] == "paper"],
        extended=[e for e in entries if e["part"] == "extended"],
        answers={name: found for name, found in study.answers().items() if name in ALL_NOTEBOOKS},
        methods=methods(
            params, study.patients(), study.n_features, study.validation()[1] if study.only_validated else None
        ),
        flags=_flags(study),
        notebooks={} if unfolded else _notebooks(study, shown, guard),
        packages=_versions(run),
        protocol=standing(study, run),
        finished=_readable_time(run["finished"]),
        unfolded=unfolded,
    )


def _first_pictures(study: Study) -> dict[str, str]:
    """The forest plot and the strip of CT as data URIs, "" where a study has none."""
    found = forest_of(study)
    strip = strip_of(study)
    pictures = {"forest": "", "strip": ""}
    if found:
        label_synthetic(found[0], study.params.synthetic)
        pictures["forest"] = data_uri(svg_text(found[0]).encode(), "image/svg+xml")
    if strip:
        pictures["strip"] = data_uri(_jpeg(strip), "image/jpeg")
    return pictures


def _jpeg(fig: Figure) -> bytes:
    buffer = io.BytesIO()
    fig.savefig(buffer, format="jpeg", dpi=150, pil_kwargs={"quality": 80})
    return buffer.getvalue()


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as the address of a picture or download that is inside the page."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _notebooks(study: Study, shown: list[str], guard: Patients) -> dict[str, Markup]:
    """The executed notebooks; what they save is pointed to where the page has it, and no output shows a patient."""

    def link(stem: str) -> str:
        title = describe(stem).title
        return f'<p>See <a href="#{stem}">{title}</a>.</p>' if stem in shown else f"<p>{title}</p>"

    pieces = {}
    for name in ALL_NOTEBOOKS:
        if study.executed(name).is_file():
            piece = notebook_piece(study.executed(name), lambda text: bool(guard.seen_in(text)), link, level=4)
            pieces[name] = Markup(piece)
    return pieces


def _flags(study: Study) -> str:
    """What was flagged of the measurements that were made, as a table; "" where none was."""
    if not (study.build / "measured.parquet").is_file() or not study.params.images.flags:
        return ""
    measured = study.measured()
    if "flags" not in measured or not (measured["ct_series"] != "").any():
        return ""
    table = flag_table(measured, study.params.images.flags)
    if not table["patients"].any():
        return f"None of {len(measured)} patients was flagged ({', '.join(table['flag'])})."
    return html_table(table, 1, unbroken=True)


def _versions(run: dict) -> list[tuple[str, str | None]]:
    there = {name.lower(): number for name, number in run["environment"]["packages"].items()}
    return [(name, there.get(name.lower())) for name in SHOWN_PACKAGES]


def _readable_time(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _entry(study: Study, stem: str, there: list[str], found: Facts, guard: Patients) -> dict:
    artefact, folder = describe(stem), study.figures
    entry: dict[str, Any] = {
        "stem": stem,
        "title": artefact.title,
        "part": artefact.part,
        "caption": fill(artefact.caption, found),
        "notebook": notebook_of(stem),
        "files": [f for f in there if Path(f).stem == stem],
        "published": None,
        "csv": _taken_along(folder / f"{stem}.csv", guard),
    }
    if f"{stem}.png" in there:
        entry["image"] = _picture(study, stem, guard)
        entry["alt"] = fill(artefact.alt or artefact.caption, found)
    else:
        table, row_headers = _table(study, stem)
        entry["table"] = html_table(
            table, row_headers, unbroken=True, most_rows=LONGEST_TABLE, on_paper=LONGEST_ON_PAPER
        )
        if stem == "exclusions" and table.empty:
            entry["table"] = "No patient was excluded."
        entry["wide"] = table.shape[1] > WIDEST_UPRIGHT
        entry["folded"] = len(table) > FOLDED_FROM
    return entry


def _picture(study: Study, stem: str, guard: Patients) -> str:
    """A figure as SVG; as PNG where the SVG is missing, old or huge, or its coordinates would be a real patient's."""
    vector, png = study.build / "svg" / f"{stem}.svg", study.figures / f"{stem}.png"
    fresh = vector.is_file() and vector.stat().st_mtime >= png.stat().st_mtime
    exact = study.params.synthetic or as_it_may_leave(study.figures / f"{stem}.pdf", guard, []) is not None
    if fresh and exact and vector.stat().st_size <= LARGEST_VECTOR:
        return data_uri(vector.read_bytes(), "image/svg+xml")
    return data_uri(png.read_bytes(), "image/png")


def _taken_along(path: Path, guard: Patients) -> str:
    """The CSV as a download inside the page, as it may leave; "" where it is a patient's or too large."""
    content = as_it_may_leave(path, guard, []) if path.is_file() else None
    return data_uri(content, "text/csv") if content and len(content) <= LARGEST_TAKEN_ALONG else ""


def _table(study: Study, stem: str) -> tuple[pd.DataFrame, int]:
    """A table as it is read, and how many of its columns name the rows."""
    cohort, definitions = study.params.cohort, study.params.definitions
    sets = {name: entry.label for name, entry in cohort.sets.items()}
    if stem == "exclusions":  # counted: a report goes further than a list of patients may
        exclusions = study.exclusions()
        return exclusions.groupby(["set", "stage"], sort=False).size().rename("patients").reset_index(), 1
    table = study.result(stem)
    if stem == "table1":
        return table_one_for_reading(table, cohort), 1
    if stem == "table2":
        keys = ["set", "definition", "outcome"]
        if (study.figures / "table2_extended.csv").is_file():
            more = study.result("table2_extended")[[*keys, *TABLE2_BESIDE]]
            table = table.merge(more, how="left", on=keys)
        return table2_for_reading(table, sets, {key: f"{key} ({d.source})" for key, d in definitions.items()}), 1
    if stem == "table2_extended":
        return extended_for_reading(table.fillna({"covariates": "", "note": ""}), sets), 3
    return for_reading(table, cohort, study.params.statistics.confidence), 1


def beside(rows: pd.DataFrame, cohort: CohortParams) -> pd.DataFrame:
    """Printed numbers beside ours, an estimate in one row with its interval and P, a count with its percentage.

    ``rows`` are rows of ``published.compare``. Returns set (its label), item, printed, this run, and whether the
    printed value lies in this run's interval.
    """
    table = []
    for (_, name, *what), part in rows.groupby(["table", "set", "marker", "outcome", "quantity"], sort=False):
        values = part.set_index("statistic")
        label = cohort.label(name) if name in (*cohort.sets, "train", "internal") else name
        inside = values["inside"].dropna()
        holds = ("yes" if inside.iloc[0] else "no") if len(inside) else ""
        shape = {"n": ", n", "mean": ", mean ± SD"}.get(values.index[0], "") + (" (%)" if "%" in values.index else "")
        cells = (_value(values[column], what[-1]) for column in ("published", "ours"))
        table.append((label, quantity_text(*what) + shape, *cells, holds))
    return pd.DataFrame(table, columns=["set", "item", "printed", "this run", "printed value in our interval"])


def _value(values: pd.Series, quantity: str) -> str:
    """One cell of ``beside``: the numbers of a quantity, by statistic, as the letter would print them."""
    first, said = values.index[0], values.dropna()
    if first not in said:
        return NOT_AVAILABLE
    digits = 0 if first == "n" else {"C-index": 3, "HR": 2}.get(quantity, 1)
    text = f"{said[first]:.{digits}f}"
    if first == "estimate":
        text = format_estimate(values["estimate"], values["low"], values["high"], digits)
    if "P" in said:
        text += f" {format_p(said['P'])}"
    if "%" in said:
        text += f" ({said['%']:.1f}%)"
    return f"{text} ± {values['SD']:.{digits}f}" if first == "mean" else text


def _write_pdf(html: str, pdf: Path) -> bool:
    browser = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if browser is None:
        print("no Chromium or Chrome found: the report is HTML only")
        return False
    with tempfile.TemporaryDirectory() as folder, replacing(pdf) as temporary:
        page = Path(folder) / "report.html"
        page.write_text(html, encoding="utf-8")
        command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/profile"]
        command += ["--no-pdf-header-footer", f"--print-to-pdf={temporary}", page.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, timeout=180)
        if done.returncode == 0 and temporary.stat().st_size > 0:
            return True
        print(f"{Path(browser).name} made no PDF: {done.stderr.strip().splitlines()[-1:]}")
    pdf.unlink(missing_ok=True)
    return False
