"""The examples of CONTRIBUTING.md run, the checklists of docs/reporting.md are complete, docs/architecture.md holds."""

import ast
import re
from fnmatch import fnmatchcase
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from finished import toy_patients

from analysis_lib.common.code import modules_of, modules_of_notebook
from analysis_lib.core import parameters as params_module
from analysis_lib.core.artefacts import ALL_NOTEBOOKS
from analysis_lib.core.prepare import STAGES
from analysis_lib.results.multiverse import GAIN_COLUMNS, HR_COLUMNS
from analysis_lib.results.table2 import table_two
from analysis_lib.review.conclusions import read_conclusions
from analysis_lib.review.judge import CELLS
from analysis_lib.stages import comparators
from analysis_lib.stages.assemble import IMAGE_COLUMNS
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
    (name, given), patients = *yaml.safe_load(example("definition"))["definitions"].items(), toy_patients()
    rows = table[table["definition"] == name]
    expected = patients["smi"] < patients["sex"].map({"M": given["men"], "F": given["women"]})
    assert rows.groupby("set")["n_sarcopenic"].first().sum() == expected.sum() > 0
    assert given.keys() == {
        n for n, field in params_module.DefinitionParams.model_fields.items() if field.is_required()
    }
    usual = params_module.load_params("smoke")  # an example of something new
    assert given["doi"] not in [d.doi for d in (*usual.definitions.values(), *usual.further_definitions.values())]


def test_a_definition_in_every_study_leaves_the_synthetic_patients_as_they_are():
    params = params_module.load_params("smoke")
    name, new = next(iter(yaml.safe_load(example("definition"))["definitions"].items()))
    more = params.definitions | {name: params_module.DefinitionParams(**new)}
    chosen = calibrated(params.standin, more)
    assert chosen == params.definitions
    part = params.standin.sets["lt"].model_copy(
        update={"sarcopenic": {name: 3, **params.standin.sets["lt"].sarcopenic}}
    )
    wrong = params.standin.model_copy(update={"sets": {"lt": part}})
    with pytest.raises(StandinError, match=f"{name} is no definition"):
        calibrated(wrong, params.definitions)
    with pytest.raises(StandinError, match="two definitions of smi"):
        calibrated(wrong, more)


def test_an_index_is_a_column():
    table = defined("index")["add_psoas_share"](pd.DataFrame({"pm_area_cm2": [15.0], "sm_area_cm2": [150.0]}))
    assert table["pm_to_sm"].tolist() == [0.1]


def test_a_model_is_a_function_and_a_name(monkeypatch):
    monkeypatch.setitem(comparators.OTHERS, "Cox Firth", defined("model")["firth_risk"])
    patients, params = toy_patients(), params_module.load_params("smoke").comparators
    train = (patients["split"] == "train").to_numpy()
    given = (
        patients[["age", "bmi", "tumour_single"]],
        train,
        patients["set"].to_numpy(),
        patients["time_months"][train],
        patients["event"][train] == 1,
    )
    risks = [comparators.timed_risk(name, *given, params, 1)[0] for name in ("Cox Firth", "Cox clinical")]
    assert np.isfinite(risks[0]).all() and (risks[0] != risks[1]).any()
    assert np.corrcoef(*risks)[0, 1] > 0.95  # shrunk a little, and otherwise the plain fit


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


# ---- docs/architecture.md -----------------------------------------------------------------------------------

ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
TARGETS = {
    "cohort.done": "cohort",
    "measured.parquet": "measure",
    "features.parquet": "features",
    "patients.parquet": "assemble",
    "exclusions.parquet": "exclusions",
    "stability.done": "stability",
    "optimism.csv": "optimism",
}
STEPS = [*TARGETS.values(), *sorted(name[:2] for name in ALL_NOTEBOOKS if name < "15")]


def section(heading: str) -> str:
    return re.split(r"\n##+ ", ARCHITECTURE.split(f"# {heading}\n")[1])[0]


def rows_of(text: str) -> list[list[str]]:
    """Cells of the rows of the tables in a text, without the heads."""
    lines = re.sub(r"^\|.*\n\|---.*\n", "", text, flags=re.MULTILINE).splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]


def quoted(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


def test_the_page_names_every_module_and_none_that_is_not_there():
    tree, room, named = section("Every module").split("```")[1], "", set()
    for line in tree.splitlines():
        if found := re.match(r"  (\w+)/  \S", line):
            room = f"{found.group(1)}/"
        elif found := re.match(r"    (\w+\.py) +\S", line):
            named.add(f"{room}{found.group(1)}")
    library = ROOT / "analysis_lib"
    assert named == {p.relative_to(library).as_posix() for p in library.rglob("*.py") if p.name != "__init__.py"}


def test_the_functions_and_files_that_the_page_names_exist():
    rooms = "|".join(p.name for p in (ROOT / "analysis_lib").iterdir() if p.is_dir() and p.name != "__pycache__")
    named = set(re.findall(rf"`((?:{rooms})\.\w+\.\w+)`", ARCHITECTURE))
    assert len(named) > 50
    for name in named:
        room, module, function = name.split(".")
        body = ast.parse((ROOT / "analysis_lib" / room / f"{module}.py").read_text(encoding="utf-8")).body
        assert function in {getattr(node, "name", "") for node in body}, name
    for name in set(re.findall(rf"`((?:{rooms})/\w+\.py)`", ARCHITECTURE)):
        assert (ROOT / "analysis_lib" / name).is_file(), name
    for name in re.findall(r"`((?:tests|params)/[\w/.]+\.\w+)`", ARCHITECTURE):
        assert (ROOT / name).is_file(), name
    for link in re.findall(r"\]\(([\w./]+\.md)", ARCHITECTURE):
        assert (ROOT / "docs" / link).is_file(), link


def test_every_kept_result_is_on_the_page():
    code = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "analysis_lib").rglob("*.py"))
    kept = {name.split(".")[-1] for name in re.findall(r"(?<!def )\bkeeping\(([\w.]+)", code)}
    assert "one_replicate" in kept and kept <= set(quoted(section("What make runs again")))


def test_the_page_tells_which_notebook_makes_what():
    rows = {quoted(row[0])[0]: row for row in rows_of(section("The data's way"))[len(STAGES) + 4 :]}
    assert rows.keys() == {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    for name, files in ALL_NOTEBOOKS.items():
        made = {Path(file).stem for file in files}
        assert {word for word in quoted(rows[name][2].split("; in `build/`")[0])} == made, name
    stages = {row[0] for row in rows_of(section("The data's way"))}
    assert stages >= STAGES.keys()


def rules() -> dict[str, set[str]]:
    """What each target of a study STUDY is made from, read from the Makefile without running make."""
    text = (ROOT / "Makefile").read_text(encoding="utf-8").replace("\\\n", " ")
    values, made = {"STUDY": "STUDY"}, {}

    def filled(words: str) -> str:
        words = re.sub(
            r"\$\(wildcard ([^$)]+)\)",
            lambda m: " ".join(p.relative_to(ROOT).as_posix() for p in ROOT.glob(m.group(1))),
            words,
        )
        return re.sub(r"\$\((\w+)\)", lambda m: filled(values.get(m.group(1), "")), words)

    for line in text.splitlines():
        if found := re.match(r"(\w+) [:?]?= ?(.*)", line):
            values.setdefault(*found.groups())
        elif found := re.match(r"(\$\([BN]\)/[^:]*): (.*)", line):
            for target in filled(found.group(1)).split():
                made.setdefault(target, set()).update(filled(found.group(2)).split())
    pattern = made.pop("build/STUDY/notebooks/%.ipynb")
    for target in made:
        if target.endswith(".ipynb"):
            made[target] |= {need.replace("%", Path(target).stem) for need in pattern}
    return made


def runs_again(changed: set[str], made: dict[str, set[str]]) -> set[str]:
    """Stages, and notebooks by their number, that a change of these files leads to."""
    older: set[str] = set()
    while new := {target for target, needs in made.items() if target not in older and needs & (changed | older)}:
        older |= new
    steps = {TARGETS.get(Path(target).name, Path(target).name[:2]) for target in older}
    return steps & set(STEPS)


def told(cell: str) -> set[str]:
    """Steps as a cell names them: "from `measure` on", or stages, numbers and ranges of numbers."""
    if found := re.match(r"from `(\w+)` on$", cell):
        return set(STEPS[STEPS.index(found.group(1)) :])
    steps = set(quoted(cell))
    for first, last in re.findall(r"\b(\d\d)(?:-(\d\d))?", cell):
        steps |= {step for step in STEPS if step.isdigit() and first <= step <= (last or first)}
    return steps


# make multiverse, make search, make validate, make fetch and make masks always run; a range judges parameters alone.
NEVER_SEEN = {
    f"build/STUDY/params/{name}.json"
    for name in ("search", "multiverse", "validation", "fetch", "masks", "cut_off_ranges")
}


def test_what_runs_again_is_as_the_page_says():
    made, changes = rules(), rows_of(section("What make runs again").split("| kept |")[0])
    assert runs_again({"build/STUDY/params/pca.json"}, made) == {"03"}
    assert runs_again({"build/STUDY/params/adjustment.json"}, made) == {"05", "12", "13", "14"}  # no network refitted
    real = {t: needs - {"build/STUDY/cohort.done"} if t.endswith(".inputs") else needs for t, needs in made.items()}
    users = {name: set(modules_of(module)) for name, module in STAGES.items()}
    for path in (ROOT / "notebooks").glob("[0-9]*.ipynb"):
        users[path.stem] = set(modules_of(*modules_of_notebook(path), "analysis_lib.core.notebooks"))
    asked = []
    for what, seen, again, of_real in changes:
        files = quoted(seen)
        if files[0].endswith(".py"):
            module = f"analysis_lib.{files[0].removesuffix('.py').replace('/', '.')}"
            changed = {f"build/code/{name}.txt" for name, modules in users.items() if module in modules}
        elif files == [".venv"]:
            continue
        else:
            places = {".json": "build/STUDY/params/", ".txt": "build/STUDY/"}
            changed = {places.get(Path(name).suffix, "") + name for name in files}
            assert changed <= set().union(*made.values()) | NEVER_SEEN, what
        asked += changed
        if again.startswith("nothing"):
            assert runs_again(changed, made) == set(), what
            continue
        # other code draws the same patients, whose files keep their times
        assert told(again) == runs_again(changed, real if files[0].endswith(".py") else made), what
        if of_real:  # no patient is drawn for these
            assert told(of_real) == runs_again(changed, real) - {"cohort"}, what
        elif files[0].endswith(".py"):
            assert "cohort" not in told(again), what
        else:
            assert runs_again(changed, made) - {"cohort"} == runs_again(changed, real) - {"cohort"} or "standin" in what
    sections = {f"build/STUDY/params/{name}.json" for name in params_module.Params.model_fields}
    sections -= {f"build/STUDY/params/{name}.json" for name in ("study", "workers")}
    assert sections <= set(asked)


SETS, DEFINITIONS = ("discovery", "train", "internal", "external", "lt"), params_module.load_params("smoke").definitions


def general(column: str) -> str:
    """A column's name as the page has it, where sets, definitions or months are part of it."""
    if column in DEFINITIONS:
        return "<definition>"
    column = re.sub(rf"^({'|'.join(SETS)})(_missing)?$", r"<set>\2", column)
    return re.sub(r"^PC\d+$", "PC<k>", re.sub(r"^survival_[\d.]+$", "survival_<month>", column))


def columns_of(table: str) -> dict[str, set[str]]:
    """The columns that a table of files names for each: the longest list in its row."""
    found = {}
    for row in rows_of(section(table)):
        lists = max(quoted(row[-1]), key=lambda text: text.count(","), default="")
        found |= {name.removesuffix(".csv").removesuffix(".parquet"): set(lists.split(", ")) for name in quoted(row[0])}
    return found


ARTEFACT_COLUMNS, BUILD_COLUMNS = columns_of("`figures/<study>/`"), columns_of("`build/<study>/`")


def test_every_artefact_is_on_the_page():
    assert ARTEFACT_COLUMNS.keys() == {Path(file).stem for files in ALL_NOTEBOOKS.values() for file in files}


def test_the_columns_of_every_artefact_are_those_that_verify_knows():
    tables = read_conclusions(ROOT / "tests" / "expected" / "conclusions.yaml").tables
    for name in tables.keys() - {"risk", "exclusions"}:
        columns = {
            re.sub(r"_(mean|sd|skewness)$", "", column) if name == "fig3" else column for column in tables[name].columns
        }
        columns -= {"synthetic"}
        if name == "fig3":
            columns = columns - {"patients"} | {"patient_id"}
        if "survival" in columns:  # left out of an expectation, since they are single patients'
            columns |= {"events", "censored"}
        assert ARTEFACT_COLUMNS[name] == {general(column) for column in columns}, name
    assert ARTEFACT_COLUMNS["multiverse_hr"] == set(HR_COLUMNS)
    assert ARTEFACT_COLUMNS["multiverse_gain"] == set(GAIN_COLUMNS)
    assert BUILD_COLUMNS["verify"] == set(CELLS)


# Columns that hold words or choices; a new column of numbers has its unit on the page.
WORDS = (
    "added_to against answer asked below cause centre characteristic class column component conclusion covariates "
    "ct_notes ct_series cut_off definition expected family feature file flags form found grade group groups image "
    "index item kind label level marker meaning measure model node note option outcome panel parent part patient_id "
    "phase quantity reason region rfs_cause row series_uid set sex source split stage state statistic table text "
    "subgroup title unit variant window words empty"
)


def test_every_column_has_a_unit():
    given = [pattern for row in rows_of(section("Every file")) for pattern in quoted(row[0])]
    words = set(WORDS.split(" "))
    for columns in [*ARTEFACT_COLUMNS.values(), *BUILD_COLUMNS.values()]:
        if len(columns) > 1:
            lacking = [c for c in columns - words if not any(fnmatchcase(c, pattern) for pattern in given)]
            assert not lacking, lacking


NOT_OF_TOYS = {"rfs_cause", "centre", "cause", *set(IMAGE_COLUMNS) - set(toy_patients())} | {"ct_series", "ct_notes"}


def test_every_file_of_a_finished_study_is_on_the_page_with_its_columns(finished):
    study = finished
    files = section("`build/<study>/`") + section("`figures/<study>/`")
    for path in sorted(study.build.rglob("*.*")):
        name = path.relative_to(study.build).as_posix()
        stages = re.sub(r"^(stages/).*", r"\1<stage>.json", re.sub(r"^(notebooks/).*", r"\1<notebook>.ipynb", name))
        assert f"`{stages.removeprefix('model/')}`" in files, name
        if path.suffix in (".csv", ".parquet") and path.parent == study.build:
            table = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
            assert BUILD_COLUMNS[path.stem] - NOT_OF_TOYS == set(table.columns) - NOT_OF_TOYS, name
    for path in study.figures.iterdir():
        assert f"`{path.stem}`" in files or f"`{path.name}`" in files, path.name
        if path.suffix == ".csv":
            columns = {general(c) for c in pd.read_csv(path, nrows=0).columns} - {"synthetic"}
            optional = {"low_simultaneous", "high_simultaneous", "below"}
            assert columns <= ARTEFACT_COLUMNS[path.stem] <= columns | optional, path.name
    code = (ROOT / "analysis_lib" / "core" / "project.py").read_text(encoding="utf-8")
    written = set(re.findall(r'"([\w/]+\.(?:csv|parquet))"', code))
    assert "risk.csv" in written
    for name in written:
        assert re.search(rf"`(?:\w+/)?{re.escape(name)}`", files), name
