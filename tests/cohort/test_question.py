"""Of whom the study asks: subset and landmark, as R's survival has them, and what is said of a slip."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical
from analysis_lib.cohort.cohort import assemble
from analysis_lib.cohort.question import asked, further_columns, in_subset, with_endpoint
from analysis_lib.common.errors import ParameterError
from analysis_lib.common.formatting import format_p, format_ratio
from analysis_lib.core.artefacts import ARTEFACTS, published_beside
from analysis_lib.core.parameters import Params, load_params
from analysis_lib.core.question_params import cox_text, uncounted_text
from analysis_lib.figures.kaplan_meier import km_grid
from analysis_lib.results import answers
from analysis_lib.results.cox_options import competing_ratios, options_of
from analysis_lib.results.published import printed_numbers
from analysis_lib.results.risk_groups import risk_group_models, risk_group_table
from analysis_lib.results.table1 import flowchart_counts
from analysis_lib.results.table2 import sarcopenia_curves, table_two
from analysis_lib.results.table2_extended import extended_table
from analysis_lib.results.validation import Judged, tripod
from analysis_lib.review.facts import _set_text as sets_text
from analysis_lib.review.methods import methods
from analysis_lib.survival import survival
from analysis_lib.survival.imputation import imputed_ratio

REFERENCE = Path(__file__).parents[1] / "reference"


def params(**changes) -> Params:
    base = load_params("smoke").model_dump()
    return Params.model_validate(base | changes)


@pytest.fixture(scope="module")
def r() -> dict[str, float]:
    """Values of make_question_reference.R, whose calls stand there."""
    return pd.read_csv(REFERENCE / "question_values.csv").set_index("quantity")["value"].to_dict()


@pytest.fixture(scope="module")
def stratos() -> pd.DataFrame:
    """The patients of stratos_competing.csv as patients of a study; the first event of either cause is RFS and OS."""
    table = pd.read_csv(REFERENCE / "stratos_competing.csv")
    patients = pd.DataFrame({"patient_id": [f"P{k:04d}" for k in table.index], "set": "discovery", "split": "train"})
    patients["os_months"] = patients["rfs_months"] = table["years"] * 12
    patients["os_event"] = patients["rfs_event"] = (table["cause"] > 0).astype(float)
    patients["rfs_cause"] = table["cause"].map({1: "recurrence", 2: "death"})
    return patients.assign(centre=table["cohort"], **table[["age", "size", "nodes"]])


def close(fit: dict, r: dict[str, float], name: str) -> None:
    for ours, theirs in (
        ("hr", "hr"),
        ("low", "low"),
        ("high", "high"),
        ("p", "p"),
        ("n", "n"),
        ("n_events", "events"),
    ):
        assert fit[ours] == pytest.approx(r[f"{name}_{theirs}"], rel=1e-8), (name, ours)


def test_a_subset(stratos, r):
    """R: coxph(Surv(months, cause > 0) ~ nodes, subset(d, age >= 75))."""
    kept, left_out = asked(stratos, params(subset={"age": {"at_least": 75}}))
    close(survival.cox_binary(kept["os_months"], kept["os_event"], kept["nodes"], 0.95), r, "subset")
    assert left_out["step"].unique().tolist() == ["age: at least 75"] and len(kept) + len(left_out) == len(stratos)


def test_a_landmark(stratos, r):
    """R: coxph(Surv(months - 12, cause > 0) ~ nodes, d, subset = months > 12), survfit of the same at 36."""
    kept, _ = asked(stratos, params(landmark_months=12))
    close(survival.cox_binary(kept["os_months"], kept["os_event"], kept["nodes"], 0.95), r, "landmark")
    curve = survival.kaplan_meier(kept["os_months"], kept["os_event"], 0.95)
    assert survival.survival_at(curve, [36])["survival"].item() == pytest.approx(r["landmark_survival_36"], rel=1e-9)


def test_what_ended_before_the_landmark_is_unknown_after_it():
    table = pd.DataFrame({"patient_id": list("ABC"), "set": "discovery", "os_months": [6.0, 6.5, 20.0]})
    table = table.assign(os_event=1.0, rfs_months=[2.0, 6.0, 9.0], rfs_event=1.0, rfs_cause="recurrence")
    kept, left_out = asked(table, params(landmark_months=6))
    assert left_out["patient_id"].tolist() == ["A"]  # whose follow-up ends at the landmark is not at risk after it
    assert kept["os_months"].tolist() == [0.5, 14.0] and kept["rfs_months"].tolist()[1] == 3.0
    assert kept.loc[0, ["rfs_months", "rfs_event", "rfs_cause"]].isna().all()


@pytest.mark.parametrize("own", [False, True])
def test_an_endpoint_that_another_event_takes_away(stratos, r, own):
    """R: coxph(Surv(months, cause == 1) ~ nodes, d)."""
    endpoint: object = "recurrence"
    if own:
        endpoint = {"short": "REC", "name": "time to recurrence", "months": "rec_months", "event": "rec_event"}
        endpoint |= {"noun": "recurrence", "plural": "recurrences"}
        codes = stratos["rfs_cause"].map({"recurrence": 1.0, "death": 2.0}).fillna(0)
        stratos = stratos.assign(rec_months=stratos["rfs_months"], rec_event=codes, os_months=99.0, os_event=0.0)
    kept, left_out = asked(stratos, params(endpoint=endpoint))
    close(survival.cox_binary(kept["time_months"], kept["event"], kept["nodes"], 0.95), r, "recurrence")
    assert kept["cause"].value_counts()[2] == (stratos["rfs_cause"] == "death").sum() and left_out.empty
    assert "rec_event" not in kept  # it is ``cause`` now, on the clock of the study


def test_every_outcome_has_its_columns_and_names():
    assert {k: o.columns for k, o in params().statistics.outcomes.items()} == {
        "OS": ("os_months", "os_event"),
        "RFS": ("rfs_months", "rfs_event"),
    }
    rfs, recurrence = params(endpoint="RFS"), params(endpoint="recurrence").statistics
    assert (
        list(rfs.statistics.outcomes) == ["RFS", "OS"] and rfs.statistics.endpoint.title == "Recurrence-free survival"
    )
    assert list(recurrence.outcomes) == ["Recurrence", "OS", "RFS"]
    assert recurrence.outcomes["Recurrence"].columns == ("time_months", "event")
    assert rfs.heading.endswith("(recurrence-free survival)") and rfs.steps == ["Recurrence-free survival known"]
    assert published_beside("fig2", rfs).outcome == "RFS" and published_beside("figS1", rfs).outcome == "OS"
    assert (
        printed_numbers(endpoint=rfs.endpoint)["c_index"] == {}
        and printed_numbers(endpoint=params().endpoint)["c_index"]
    )


@pytest.mark.parametrize(
    ("endpoint", "says"),
    [
        ("rsf", "'rsf' is no endpoint; did you mean 'rfs'"),
        ({"short": "PFS", "months": "pfs_months"}, "lacks name, event, noun, plural"),
        ({"shrt": "PFS"}, "lacks short"),
    ],
)
def test_an_endpoint_that_is_none(endpoint, says):
    with pytest.raises(ValidationError, match=says):
        params(endpoint=endpoint)


def test_a_landmark_moves_the_endpoint_too(stratos):
    late, _ = asked(stratos, params(endpoint="recurrence", landmark_months=12))
    whole = asked(stratos, params(endpoint="recurrence"))[0].set_index("patient_id").loc[late["patient_id"]]
    assert np.allclose(late["time_months"], whole["time_months"] - 12) and (late["time_months"] > 0).all()
    assert late["cause"].tolist() == whole["cause"].tolist()


def test_who_has_no_known_endpoint_is_a_step(stratos):
    some = stratos.assign(rfs_event=stratos["rfs_event"].mask(stratos.index < 10))
    own = params(endpoint="rfs")
    kept, left_out = asked(some, own)
    assert len(kept) == len(some) - 10 and left_out["step"].unique().tolist() == own.steps


def test_texts_name_the_endpoint(stratos):
    own = params(endpoint="rfs")
    patients = asked(stratos, own)[0].assign(ct_series="series", ct_notes="", smi=1.0)
    assert "predicted recurrence-free survival" in dict(methods(own, patients, 10))["Model"]
    assert "had recurrence or death." in answers.cohort(patients, patients.head(0), own.cohort, own.endpoint)
    text = sets_text("Discovery", own.statistics.outcomes, patients)
    assert text.startswith(f"Discovery: n = 2000, {int(patients['event'].sum())} recurrences or deaths")
    card = tripod_outcome(own)
    assert card == "recurrence-free survival in months; how patients are followed is the site's"
    left = [name for name, a in ARTEFACTS.items() if "overall survival" in f"{a.title}{a.caption}{a.alt}{a.page}"]
    assert not left  # what a caption says of the endpoint comes from the study's facts


def tripod_outcome(own: Params) -> str:
    about = {"case_mix": {"n": []}, "study": "x", "sums_sha256": "0" * 64, "cutoff": 0.0}
    nobody = pd.DataFrame({"event": [], "warning": []})
    found = Judged(nobody, nobody, own.cohort.judged(own.cohort.sets), about)
    table = tripod(found, pd.DataFrame({"model": []}), pd.DataFrame({"ratio": []}), nobody, False, own.endpoint)
    return table.set_index("asked").at["outcome", "answer"]


def close_ratio(fit: dict, r: dict[str, float], name: str, rel: float = 1e-8) -> None:
    for key in ("hr", "low", "high", "p"):
        assert fit[key] == pytest.approx(r[f"{name}_{key}"], rel=rel), (name, key)


@pytest.fixture(scope="module")
def late(stratos) -> pd.DataFrame:
    """The same with a month of entry, a weight, and ``node``: a definition by which those with nodes are sarcopenic."""
    receptor = pd.read_csv(REFERENCE / "stratos_competing.csv")["receptor"]
    entry = np.maximum(0, np.minimum(stratos["os_months"] - 0.5, (stratos["age"] - 65) / 2))
    clinical = {name: 0.0 for name in ("tumour_diameter_over_5cm", "tumour_single", "vascular_invasion")}
    return stratos.assign(
        entry=entry, weight=np.where(receptor == 1, 0.5, 1.5), sex="M", smi=1.0 - stratos["nodes"], **clinical
    )


OPTIONS: list[tuple[str, dict]] = [
    ("strata", {"strata": ["centre"]}),
    ("entry", {"entry": "entry"}),
    ("weights", {"weights": "weight"}),
    ("all", {"strata": ["centre"], "entry": "entry", "weights": "weight"}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_cox_options_in_both_tables(late, r, name, options):
    """R: coxph(Surv(entry, months, cause > 0) ~ nodes + strata(cohort), d, weights = weight, cluster = id)."""
    own = params(cox=options)
    kept, _ = asked(late, own)
    definition = own.definitions["SMI"].model_copy(update={"men": 0.5, "women": 0.5})
    statistics = own.statistics.model_copy(update={"adjust_for": ["age"]})
    row = extended_table(kept, {"SMI": definition}, {}, own.cohort, statistics, 1).iloc[0]
    plain = table_two(kept, {"SMI": definition}, own.cohort, statistics).iloc[0]
    assert plain["hr"] == row["hr"] and plain["p_logrank"] == row["p_logrank"] and np.isnan(row["p_curvature"])
    if name == "all":  # adjusted for age
        close_ratio({key: row[f"cc_{key}"] for key in ("hr", "low", "high", "p")}, r, name)
        assert row["mi_hr"] == row["cc_hr"]  # nothing to impute
    else:
        close_ratio({"hr": row["hr"], "low": row["hr_low"], "high": row["hr_high"], "p": row["p"]}, r, name)
    assert np.isnan(row["rmst_difference"]) == (name != "strata")  # a curve knows strata to be none of its business
    assert "what cannot honour this is NA" in cox_text(own.cox) and cox_text(params().cox) == ""


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_panels_count_who_has_entered(late, r, name, options):
    own = params(cox=options)
    kept, _ = asked(late, own)
    definition = own.definitions["SMI"].model_copy(update={"men": 0.5, "women": 0.5})
    ticks = [0, 3, 12, 60]
    frames = sarcopenia_curves(kept, {"SMI": definition}, "OS", own.statistics, ticks)
    numbers, table = frames["at_risk"], table_two(kept, {"SMI": definition}, own.cohort, own.statistics).iloc[0]
    for group, label in ((1, "Sarcopenia"), (0, "No sarcopenia")):
        part = kept[kept["nodes"] == group]
        weight = part["weight"] if own.cox.weights else pd.Series(1, part.index)
        entry = part["entry"] if own.cox.entry else pd.Series(0.0, part.index)
        rows = numbers[numbers["group"] == label].set_index("month")
        for month in ticks:
            entered = weight[(entry < month) | (entry <= 0)].sum()
            assert rows.loc[month, ["n", "n_censored", "n_events"]].sum() == pytest.approx(entered, abs=1e-9)
            gone = (part["os_months"] < month) & (entry < month) & (part["os_event"] == 1)
            assert rows.at[month, "n_events"] == pytest.approx(weight[gone].sum(), abs=1e-9)
    text = frames["annotations"]["text"].item()  # the ratio of the table
    assert text.startswith(f"HR {format_ratio(table['hr'], table['hr_low'], table['hr_high'])}")
    assert text.endswith(f"log-rank {format_p(table['p_logrank'])}")
    assert km_grid(**frames).axes


@pytest.mark.parametrize(("name", "options"), OPTIONS)
def test_risk_groups_have_the_options_too(late, r, name, options):
    own = params(cox=options)
    table = asked(late, own)[0].assign(
        split="train", risk=late["nodes"] + 0.0, spread=np.nan, vascular_invasion=late["age"]
    )
    statistics = own.statistics.model_copy(update={"adjust_for": ["vascular_invasion"]})
    row = risk_group_table(table, own.cohort, 0.5, statistics).iloc[0]
    model = risk_group_models(table, own.cohort, 0.5, statistics, "median").iloc[1]
    if name == "all":
        close_ratio({key: model[f"adjusted_{key}"] for key in ("hr", "low", "high", "p")}, r, name)
    else:
        close_ratio({"hr": row["hr"], "low": row["hr_low"], "high": row["hr_high"], "p": row["p"]}, r, name)
        assert row["p_logrank"] == pytest.approx(model["p_logrank"])
    assert model["hr"] == pytest.approx(row["hr"], rel=1e-9) and np.isnan(model["p_proportional"])
    assert row["hr_per_sd"] == pytest.approx(row["hr"] ** table["risk"].std(), rel=1e-9)
    assert np.isnan(model["rmst_difference"]) == (name != "strata")


def test_imputed_ratios_have_the_options_too(late, r):
    """With few values to impute, near those of R's coxph without any missing."""
    time, dead = late["os_months"].to_numpy(), late["os_event"].to_numpy()
    values = late[["age", "nodes"]].assign(age=late["age"].mask(late.index % 400 == 7)).to_numpy(float)
    options = options_of(late, params(cox=OPTIONS[3][1]).cox)
    found = imputed_ratio(time, dead, values, ("age", "nodes"), 0.95, (2, 2, 1), options)
    assert found["mi_m"] == 2 and 0 < found["mi_fmi"] < 0.02
    for key in ("hr", "low", "high"):
        assert found[f"mi_{key}"] == pytest.approx(r[f"all_{key}"], rel=5e-3), key


def test_options_that_change_nothing_impute_as_before(late):
    few = late.head(300)
    time, dead = few["os_months"].to_numpy(), few["os_event"].to_numpy()
    values = few[["age", "nodes"]].astype(float).mask(np.arange(300)[:, None] % [7, 1000] == 3).to_numpy()
    plain, one = (
        imputed_ratio(time, dead, values, ("age", "nodes"), 0.95, (3, 2, 1), options)
        for options in (None, {"entry": np.zeros(300), "strata": np.zeros(300)})
    )
    assert {key: pytest.approx(value, rel=1e-8) for key, value in plain.items()} == one
    # sex is constant within its own strata: it has no coefficient, and the others have theirs
    sex = np.arange(300) % 2
    both = np.column_stack([sex, values])
    found = imputed_ratio(time, dead, both, ("male", "age", "nodes"), 0.95, (3, 2, 1), {"strata": sex})
    assert found["mi_hr"] == pytest.approx(plain["mi_hr"], rel=0.1)


def test_who_enters_after_an_outcome_has_ended_is_not_of_it(late):
    """As R's Surv, which has no time that ends before it begins; the endpoint itself is refused beforehand."""
    ended = late["rfs_months"].mask(late.index < 10, late["entry"].clip(lower=0.1) * 0.9)
    own = params(cox={"entry": "entry"})
    kept, _ = asked(late.assign(rfs_months=ended), own)
    definition = own.definitions["SMI"].model_copy(update={"men": 0.5, "women": 0.5})
    table = table_two(kept, {"SMI": definition}, own.cohort, own.statistics).set_index("outcome")
    gone = int((kept["entry"] >= kept["rfs_months"]).sum())
    assert gone > 0 and table["n"].to_dict() == {"OS": len(late), "RFS": len(late) - gone}


def test_captions_say_what_counts(late):
    for options in (options for _, options in OPTIONS):
        cox = params(cox=options).cox
        assert cox_text(cox).startswith("Cox models and log-rank tests ") and "network" in cox_text(cox)
        assert ("delayed entry" in uncounted_text(cox)) == bool(cox.entry)
        assert ("weights, also in the numbers" in cox_text(cox)) == bool(cox.weights)
    assert uncounted_text(params().cox) == ""
    counted = {name for name, a in ARTEFACTS.items() if "{cox}" in a.caption}
    assert counted == {
        "table2",
        "table2_extended",
        "fig2",
        "figS1",
        "figS2",
        "figS3",
        "fig4cf",
        "risk_groups",
        "risk_group_models",
    }
    assert not counted & {name for name, a in ARTEFACTS.items() if "{uncounted}" in a.caption}


@pytest.mark.parametrize("of", [1, 2])
@pytest.mark.parametrize("time", ["months", "ties"])
def test_competing_events(stratos, r, time, of):
    """R: coxph(Surv(fgstart, fgstop, fgstatus) ~ nodes + cluster(id), finegray(...), weights = fgwt), crr, cuminc."""
    table = pd.read_csv(REFERENCE / "stratos_competing.csv")
    followed = table["years"] * 12 if time == "months" else np.ceil(table["years"])
    events = table["cause"].map({0: np.nan, 1: "recurrence", 2: "death"}).astype(object)
    patients = stratos.assign(rfs_months=followed, rfs_cause=events, sex="M", smi=1.0 - stratos["nodes"])
    own = params()
    definition = own.definitions["SMI"].model_copy(update={"men": 0.5, "women": 0.5})
    found = competing_ratios(patients, {"SMI": definition}, own.cohort, own.statistics)
    row, name = found.iloc[of - 1], f"{time}_{of}"
    assert row["events"] == (table["cause"] == of).sum()
    close_ratio({key: row[f"sub_{key}"] for key in ("hr", "low", "high", "p")}, r, f"fine_gray_{name}")
    assert row["gray_chisq"] == pytest.approx(r[f"gray_{name}_chisq"], rel=1e-9)
    assert row["gray_p"] == pytest.approx(r[f"gray_{name}_p"], rel=1e-4)  # R's own is 1 - pchisq
    # crr has Breslow's ties, Breslow weights of its own and no other difference
    assert row["sub_hr"] == pytest.approx(r[f"crr_{name}_hr"], rel=1e-3 if time == "months" else 0.02)
    if name == "months_1":
        close_ratio({key: row[f"cs_{key}"] for key in ("hr", "low", "high", "p")}, r, "recurrence")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"strata": ["centr"]}, "cox.strata: 'centr' is no column of the patients; did you mean 'centre'"),
        ({"weights": "weight"}, "cox.weights: 1 patients have no weight"),
        ({"entry": "entry"}, "cox.entry: 1 patients come under observation only when their follow-up has ended"),
    ],
)
def test_cox_options_that_cannot_be(late, options, says):
    wrong = late.assign(weight=late["weight"].mask(late.index == 0), entry=late["entry"].mask(late.index == 1, 999.0))
    with pytest.raises(ParameterError, match=says):
        asked(wrong, params(cox=options))


def test_risk_groups_by_tertiles(stratos, r):
    """R: coxph(Surv(months, cause > 0) ~ group), the same with nodes, cox.zph, survdiff, survfit(rmean = 60)."""
    own = params(risk_groups="tertiles")
    table = with_endpoint(stratos, own.endpoint).assign(
        risk=stratos["age"].astype(float), vascular_invasion=stratos["nodes"]
    )
    statistics = own.statistics.model_copy(update={"adjust_for": ["vascular_invasion"], "rmst_months": 60.0})
    found = risk_group_models(table, own.cohort, 0.0, statistics, own.risk_groups).set_index("group")
    assert found.index.tolist() == ["Low risk", "Intermediate risk", "High risk"] and found["n"].sum() == len(stratos)
    for k, name in ((1, "Intermediate risk"), (2, "High risk")):
        row = found.loc[name]
        for ours, theirs in (
            ("hr", "hr"),
            ("p", "p"),
            ("adjusted_hr", "adjusted_hr"),
            ("n", "n"),
            ("rmst_difference", "rmst"),
        ):
            assert row[ours] == pytest.approx(r[f"group_{k}_{theirs}"], rel=1e-8), (name, ours)
        assert row["p_proportional"] == pytest.approx(r["group_zph"], rel=1e-6)
        assert row["p_logrank"] == pytest.approx(r["group_logrank"], rel=1e-8)
    assert np.isnan(found.loc["Low risk", "hr"]) and found.loc["Low risk", "events"] > 0


@pytest.mark.parametrize("rule", ["terciles", [], [0.5, -0.5], ["a"], [1, 2, 3, 4]])
def test_a_rule_of_risk_groups_that_is_none(rule):
    with pytest.raises(
        ValidationError, match="did you mean 'tertiles'" if isinstance(rule, str) else "in rising order"
    ):
        params(risk_groups=rule)


PATIENTS = pd.DataFrame(
    {
        "sex": ["M", "F", None],
        "tumour_single": [1.0, 0.0, np.nan],
        "age": [50.0, 60.0, np.nan],
        "stage": ["A", "B", "1"],
    }
)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"sex": "female"}, [False, True, False]),
        ({"sex": ["F", "M"]}, [True, True, False]),
        ({"tumour_single": "yes"}, [True, False, False]),
        ({"tumour_single": 0}, [False, True, False]),
        ({"age": {"at_least": 60}}, [False, True, False]),
        ({"age": {"below": 60}}, [True, False, False]),
        ({"stage": ["b", 1]}, [False, True, True]),
        ({"sex": "F", "age": {"below": 60}}, [False, False, False]),
    ],
)
def test_conditions(condition, kept):
    assert in_subset(PATIENTS, params(subset=condition).subset).tolist() == kept


@pytest.mark.parametrize(
    ("condition", "says"),
    [
        ({"sexx": "F"}, "'sexx' is no column of the patients; did you mean 'sex'"),
        ({"sex": "femal"}, "subset.sex: no patient has 'femal'; did you mean 'female'"),
        ({"stage": "C"}, "no patient has 'C'; known: 1, A, B"),
        ({"age": 60}, "subset.age is a number; give at_least, below or both"),
        ({"sex": {"below": 1}}, "at_least and below are for numbers"),
    ],
)
def test_slips(condition, says):
    with pytest.raises(ParameterError, match=says):
        in_subset(PATIENTS, params(subset=condition).subset)


def test_nobody_to_train_on(stratos):
    with pytest.raises(ParameterError, match="age: at least 200: nobody is left in Discovery"):
        asked(stratos, params(subset={"age": {"at_least": 200}}))


def test_a_column_that_only_this_study_asks_for(tmp_path):
    table = pd.DataFrame({"patient_id": ["A", "B"], "set": "discovery", "sex": "M", "os_months": [9, 8], "os_event": 1})
    path = tmp_path / "patients.csv"
    table.assign(Stage=["I", "II"]).to_csv(path, index=False)
    own = params(subset={"stage": "II"})
    good, _ = read_clinical(path, ["discovery"], further=further_columns(own))
    assert in_subset(good, own.subset).tolist() == [False, True]
    assert "stage" not in read_clinical(path, ["discovery"])[0]
    with pytest.raises(ClinicalTableError, match=r"subset.stagee: .* no column 'stagee' \(did you mean 'stage'\?\)"):
        read_clinical(path, ["discovery"], further=further_columns(params(subset={"stagee": "II"})))
    table.assign(stage=["I", "John Smith"]).to_csv(path, index=False)  # what may be a name goes nowhere
    good, excluded = read_clinical(path, ["discovery"], further=further_columns(own))
    assert len(good) == 1 and "use a code" in excluded["reason"].item() and "Smith" not in excluded["reason"].item()


def test_the_flowchart_counts_each_step_and_excludes_nobody(stratos):
    own = params(subset={"age": {"at_least": 75}}, landmark_months=12)
    patients, left_out = assemble(stratos.drop(columns=["split", "size"]), stratos[["patient_id", "size"]], own)
    exclusions = pd.DataFrame({"patient_id": ["X"], "stage": ["images"], "reason": ["no mask"], "set": ["discovery"]})
    chart = flowchart_counts(patients, exclusions, own.cohort, ["CT"], left_out, own.steps).set_index("node")
    chain, node = [], "discovery.in"
    while node:
        chain, node = [(chart.at[node, "label"], chart.at[node, "n"]), *chain], chart.at[node, "parent"]
    old = stratos["age"] >= 75
    n_old, n_late = int(old.sum()), int((old & (stratos["os_months"] > 12)).sum())
    n = len(stratos)
    assert chain[:2] == [("Discovery: in the clinical table", n + 1), ("Could be used", n)]
    assert chain[2:] == [("age: at least 75", n_old), ("At risk at 12 months", n_late), ("Analysed", n_late)]
    assert chart.at["discovery.out", "n"] == 1
    assert chart.at["discovery.train", "n"] + chart.at["discovery.internal", "n"] == n_late


def test_titles_axes_and_methods_say_it(stratos):
    own = params(subset={"sex": "female"}, landmark_months=6)
    assert own.statistics.time_axis == "Months after landmark at 6 months"
    assert own.heading.endswith("(sex: female; at risk at 6 months)")
    patients = stratos.assign(ct_series="series", ct_notes="", smi=1.0)
    text = dict(methods(own, patients, 10))["Patients"]
    assert "Only patients of a subset were analysed (sex: female)" in text
    assert "The landmark is month 6 after surgery" in text and "after landmark at 6 months" in text
    plain = params()
    assert plain.statistics.time_axis == "Months after surgery" and plain.heading == plain.title and not plain.steps
    assert "subset" not in dict(methods(plain, patients, 10))["Patients"]
