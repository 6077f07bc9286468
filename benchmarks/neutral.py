"""The engine among the 19 learners of a neutral benchmark, on its authors' folds; writes docs/neutral.md.

    python benchmarks/neutral.py CHECKOUT [--repeats 10] [--only NAME ...] [--write]

CHECKOUT: github.com/slds-lmu/paper_2023_survival_benchmark (Burk 2024, doi:10.48550/arXiv.2406.04098; GPL-3): 34 data
sets, their folds, the published scores. Nothing of it is copied. Each fold leaves build/bench/neutral/<data set>/
<fold>.json, and what is there is not computed again: delete it after a change of the engine. The first repeat of every
data set comes before the second of any, small sets before large ones. ``--write`` computes no fold, and writes page,
table and figure from the data sets that have all folds of a repeat.

Proof of the harness: Cox's regression of this library, after the authors' treatment of categories, has their
published C on each fold (tests/coxnet/test_neutral.py).
"""

from __future__ import annotations

import analysis_lib  # noqa: F401  # isort: skip  before NumPy, since it pins the numerical libraries

import argparse
import json
import re
import time as clock
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.files import write_text
from analysis_lib.common.times import tied_times
from analysis_lib.coxnet import NetworkParams, RadiomicsSurvivalModel
from analysis_lib.coxnet.covariates import encode
from analysis_lib.figures import style
from analysis_lib.survival.cox import cox_fit
from analysis_lib.survival.survival import c_index

ROOT = Path(__file__).resolve().parent.parent
KEPT, PAGE = ROOT / "build" / "bench" / "neutral", ROOT / "docs" / "neutral.md"
BEGIN, END = "<!-- result -->", "<!-- end of result -->"
SHARE, LEVELS = 0.05, 5  # the authors put categories rarer than 5% together, and leave at least five
DRAWS = 300  # of categories that test rows alone have
FOLDS, FOLDS_IN_ALL = 3, 750  # of a repeat, and of the benchmark
OURS, COX = "engine", "CPH"
SIMPLE = ["CPH", "GLMN", "Pen", "CoxB", "MBSTCox"]  # Cox's regression, penalised, and boosted


# ---- theirs ---------------------------------------------------------------------------------------------


def data_set(checkout: Path, name: str) -> pd.DataFrame:
    """A table of theirs: time, status, numbers, and categories of the type category, their levels in their order."""
    table = pd.read_csv(checkout / "datasets" / f"{name}.csv")
    header = checkout / "datasets" / f"{name}.arff"  # tells which numbers are names of categories
    text = header.read_text(encoding="utf-8").partition("@data")[0] if header.is_file() else ""
    levels = {column: re.findall(r"'([^']*)'", found) for column, found in re.findall(r"'([^']+)' \{(.*)\}", text)}
    for column in table:
        if column in levels or not pd.api.types.is_numeric_dtype(table[column]):
            words = table[column].astype(str)
            table[column] = pd.Categorical(words, levels.get(column, sorted(words.unique())))
            if table[column].isna().any():
                raise ValueError(f"{name}: '{column}' has categories that {header.name} does not name")
    return table


def folds(checkout: Path, name: str) -> dict[int, np.ndarray]:
    """{fold, from 1: rows that are learnt from, of bool}."""
    rows = pd.read_csv(checkout / "resamplings" / "repeated_cv" / f"{name}.csv")
    tested = rows[rows["set"] == "test"].groupby("iteration")["row_id"]
    numbers = np.arange(1, rows["row_id"].max() + 1)
    return {int(fold): ~np.isin(numbers, row) for fold, row in tested}


def published(checkout: Path) -> pd.DataFrame:
    """Harrell's C by data set and fold, a column a learner, those that were tuned to it; without the two baselines."""
    path = checkout / "results" / "production" / "scores.csv"
    if not path.is_file():
        raise SystemExit(
            f"{path} is missing; it is scores.rds beside it: Rscript -e "
            '\'write.csv(readRDS("scores.rds"), "scores.csv", row.names = FALSE)\''
        )
    rows = pd.read_csv(path)
    rows = rows[rows["tune_measure"].str.contains("harrell_c") & ~rows["learner_id"].isin(["KM", "NEL"])]
    return rows.pivot(index=["task_id", "iteration"], columns="learner_id", values="harrell_c")


def their_c(time: np.ndarray, event: np.ndarray, risk: np.ndarray) -> float:
    """Harrell's C as they have it: who was censored when another died is not compared with him."""
    place = np.unique(time, return_inverse=True)[1]
    return float(c_index(2.0 * place + event, event, risk))


def collapsed(column: pd.Series, learn: np.ndarray) -> pd.Series:
    """Their treatment of categories: the rare ones of the training rows join the rarest one that is kept.

    Who has a category that no training row has is missing; the authors draw him another one.
    """
    count = column[learn].value_counts().reindex(column.cat.categories)
    count = count[count > 0].sort_values(ascending=False, kind="stable")
    known = column.isin(count.index)
    kept = count.index[(np.arange(len(count)) < LEVELS) | (count >= SHARE * count.sum()).to_numpy()]
    return column.astype(str).where(column.isin(kept), kept[-1]).where(known)


def cox_c(table: pd.DataFrame, learn: np.ndarray) -> np.ndarray:
    """C in the test rows of Cox's regression: one, or where categories are new there, one for each of ``DRAWS``."""
    time, event = table["time"].to_numpy(float), table["status"].to_numpy(int)
    covariates = table.drop(columns=["time", "status"])
    words = covariates.select_dtypes("category").apply(collapsed, learn=learn)
    new, rng = words.isna(), np.random.default_rng(0)

    def coded(filled: pd.DataFrame) -> np.ndarray:
        typed = filled.astype({name: pd.CategoricalDtype(sorted(words[name].dropna().unique())) for name in filled})
        every = covariates.drop(columns=words.columns).join(typed, how="inner")
        return pd.get_dummies(every, drop_first=True, dtype=float).to_numpy()

    x = coded(words.ffill().bfill())
    z = x[learn] - x[learn].mean(axis=0)
    z /= np.maximum(z.std(axis=0), 1e-12 * np.abs(x[learn]).max(axis=0) + 1e-300)
    # as R leaves out a column that is constant, or that the earlier ones determine
    kept = np.abs(np.diagonal(np.linalg.qr(z, mode="r"))) > 1e-7 * np.sqrt(len(z))
    beta = cox_fit(time[learn], event[learn], x[learn][:, kept]).coefficients
    risk, drawn = x[:, kept] @ beta, new.any(axis=1).to_numpy()
    if not drawn.any():
        return np.array([their_c(time[~learn], event[~learn], risk[~learn])])
    many = words[drawn].loc[np.repeat(words.index[drawn], DRAWS)]
    for name in many:
        gap = many[name].isna().to_numpy()
        many.loc[gap, name] = rng.choice(words[name][learn], int(gap.sum()))
    found = []
    for one in (coded(many)[:, kept] @ beta).reshape(-1, DRAWS).T:
        risk[drawn] = one
        found.append(their_c(time[~learn], event[~learn], risk[~learn]))
    return np.array(found)


# ---- ours -----------------------------------------------------------------------------------------------


def engine_c(table: pd.DataFrame, learn: np.ndarray) -> float:
    """C in the test rows of the engine with the defaults of the command fit, on the columns as they are."""
    time, event = table["time"].to_numpy(float), table["status"].to_numpy(int)
    covariates = table.drop(columns=["time", "status"])
    for column in covariates.select_dtypes("category"):
        covariates[column] = "level " + covariates[column].astype(str)  # a category, even where its name is a number
    x = encode(covariates, learn)[0]
    network = NetworkParams(linear_partner=True)
    model = RadiomicsSurvivalModel.fit(x[learn], tied_times(time)[learn], event[learn], None, network, seed=0)
    return their_c(time[~learn], event[~learn], model.risk(x[~learn]).to_numpy())


def run(checkout: Path, names: list[str], repeats: int) -> None:
    """Every fold that is not there yet."""
    for repeat in range(repeats):
        for name in names:
            learnt = folds(checkout, name)
            todo = [f for f in learnt if (f - 1) // FOLDS == repeat and not (KEPT / name / f"{f}.json").is_file()]
            table = data_set(checkout, name) if todo else None
            for fold in todo:
                begun = clock.perf_counter()
                found = {"c": engine_c(table, learnt[fold]), "seconds": round(clock.perf_counter() - begun, 1)}
                write_text(KEPT / name / f"{fold}.json", json.dumps(found) + "\n")
                print(f"{name} {fold}: {found}", flush=True)


# ---- the page -------------------------------------------------------------------------------------------


def scores(theirs: pd.DataFrame) -> pd.DataFrame:
    """Published scores with the column engine, of the folds of every repeat that is complete."""
    found = {
        (path.parent.name, int(path.stem)): json.loads(path.read_text(encoding="utf-8"))["c"]
        for path in KEPT.glob("*/*.json")
    }
    both = theirs.assign(**{OURS: pd.Series(found).reindex(theirs.index)})
    repeat = (both.index.get_level_values("iteration") - 1) // FOLDS
    return both[both[OURS].notna().groupby([both.index.get_level_values("task_id"), repeat]).transform("all")]


def ranks(c: pd.DataFrame) -> pd.DataFrame:
    """Rank of each learner in each data set, 1 for the highest mean C."""
    return c.groupby("task_id").mean().rank(axis=1, ascending=False)


def tables(checkout: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A row a data set, and a row a learner."""
    theirs = published(checkout)
    both = scores(theirs)
    mean, ranked = both.groupby("task_id").mean(), ranks(both)
    size = pd.read_csv(checkout / "tables" / "tasktab.csv").set_index("task_id").loc[mean.index]
    others = mean.drop(columns=OURS)
    sets = size[["n", "p", "events"]].set_axis(["rows", "columns", "events"], axis=1)
    sets = sets.assign(folds=both.groupby("task_id").size(), folds_published=theirs.groupby("task_id").size())
    sets = sets.assign(engine=mean[OURS], cox=mean[COX], best=others.max(axis=1), best_learner=others.idxmax(axis=1))
    sets = sets.assign(best_simple=mean[mean.columns.intersection(SIMPLE)].max(axis=1))
    learners = pd.DataFrame({
        "mean_rank": ranked.mean(), "mean_c": mean.mean(),
        "mean_rank_published": ranks(theirs).mean(),
        "better_than_engine": (mean.gt(mean[OURS], axis=0)).sum(),
    })  # fmt: skip
    return sets.assign(rank=ranked[OURS]).sort_values("rows"), learners.sort_values("mean_rank")


def row_of(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def lines(sets: pd.DataFrame, learners: pd.DataFrame) -> Iterator[str]:
    """The result in Markdown."""
    whole = int((sets["folds"] == sets["folds_published"]).sum())
    which = "" if whole == len(sets) else f": {whole} of them with all folds, the others with their first repeats"
    yield f"**{len(sets)} of 34 data sets, {sets['folds'].sum()} of {FOLDS_IN_ALL} folds**{which}."
    yield "All but the last column of the first table is of these folds."
    yield ""
    yield row_of(
        "learner", "mean rank of 20", "mean C", "better than the engine in", "published: mean rank of 19, all folds"
    )
    yield f"|{'---|' * 5}"
    for name, row in learners.iterrows():
        shown, theirs = f"**{name}**" if name == OURS else name, row["mean_rank_published"]
        mine, better = f"{row['mean_rank']:.2f}", f"{row['better_than_engine']:.0f} data sets"
        yield row_of(shown, mine, f"{row['mean_c']:.4f}", better, "" if np.isnan(theirs) else f"{theirs:.2f}")
    lost = (sets["best_simple"] - sets["engine"]).sort_values()
    yield ""
    yield f"To the best of {', '.join(SIMPLE)} the engine loses at most {lost.iloc[-1]:.3f} of C ({lost.index[-1]}),"
    yield f"and in {int((lost < 0).sum())} data sets it is better than all of them."
    yield from ("", "![Mean rank of each learner, and the engine's C beside Cox's in each data set](neutral.png)", "")
    yield row_of("data set", "rows", "columns", "events", "folds run", "of", "engine", "Cox", "best of the 19", "rank")
    yield f"|{'---|' * 10}"
    for name, row in sets.iterrows():
        size, c = row[["rows", "columns", "events", "folds", "folds_published"]], row[["engine", "cox"]]
        best = f"{row['best']:.3f} {row['best_learner']}"
        yield row_of(name, *size, *(f"{value:.3f}" for value in c), best, f"{row['rank']:g}")


@style.styled
def figure(sets: pd.DataFrame, learners: pd.DataFrame):
    """Mean ranks, and the engine's C less that of Cox by data set, with that of the best learner."""
    height = 4.0 * max(len(sets), len(learners))
    fig = style.new_figure(style.TWO_COLUMNS_MM, height + 20)
    ranked, differ = style.axes_mm(fig, 22, 8, 55, height), style.axes_mm(fig, 105, 8, 65, height)
    y = np.arange(len(learners))
    colours = [style.BLUE if name == OURS else style.GREY for name in learners.index]
    ranked.barh(y, learners["mean_rank"], color=colours, height=0.6)
    ranked.set(yticks=y, yticklabels=learners.index, xlabel="Mean rank of 20 (1 is best)", ylim=(len(y) - 0.4, -0.6))
    y = np.arange(len(sets))
    differ.axvline(0, color=style.GREY, lw=0.6)
    differ.plot(sets["best"] - sets["cox"], y, "|", color=style.GREY, ms=7, label="best of the 19")
    differ.plot(sets["engine"] - sets["cox"], y, "o", color=style.BLUE, ms=3.5, label="engine")
    differ.set(yticks=y, yticklabels=sets.index, xlabel="C-index less that of Cox (CPH)", ylim=(len(y) - 0.4, -0.6))
    differ.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return fig


def write(checkout: Path) -> None:
    """docs/neutral.md between its marks, docs/neutral.csv and docs/neutral.png."""
    sets, learners = tables(checkout)
    if sets.empty:
        raise SystemExit(f"{KEPT} has no data set with all folds of a repeat; run without --write first")
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    text = "\n".join(lines(sets, learners))
    write_text(PAGE, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    sets.round(5).to_csv(PAGE.with_suffix(".csv"), lineterminator="\n")
    figure(sets, learners).savefig(PAGE.with_suffix(".png"), dpi=150, metadata={"Software": None})
    print(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    size = options.checkout / "tables" / "tasktab.csv"
    if not size.is_file():
        raise SystemExit(f"{size} is missing; give a checkout of github.com/slds-lmu/paper_2023_survival_benchmark")
    if not options.write:
        names = pd.read_csv(size).sort_values("n")["task_id"]
        run(options.checkout, [n for n in names if not options.only or n in options.only], options.repeats)
    write(options.checkout)


if __name__ == "__main__":
    main()
