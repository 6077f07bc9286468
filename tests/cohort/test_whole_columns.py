"""What only a whole column shows stops the run or is said; a slip still costs its row alone."""

import datetime as dt

import numpy as np
import openpyxl
import pandas as pd
import pytest

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical
from analysis_lib.common.loss import loss_by_outcome
from analysis_lib.common.times import tied_times
from analysis_lib.core.clinical_params import ClinicalParams

TODAY = dt.date(2024, 6, 1)
BASE = {"set": "here", "sex": "M", "os_months": "30", "os_event": "1"}
DATES = {"surgery_date": "05.02.2020", "death_date": "", "last_contact_date": "01.03.2022"}
DATED = {"set": "here", "sex": "M"} | DATES


def read(tmp_path, rows, base=BASE, sets=("here",), **settings):
    """(patients, exclusions, doubts) of a table with one row a dictionary of changes."""
    frame = pd.DataFrame([{"patient_id": f"P{k:02}"} | base | row for k, row in enumerate(rows)]).fillna("")
    frame.to_csv(tmp_path / "patients.csv", index=False)
    doubts: list[str] = []
    return *read_clinical(tmp_path / "patients.csv", list(sets), ClinicalParams(**settings), TODAY, doubts), doubts


def column(name, values):
    return [{name: str(value)} for value in values]


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("sex", "HHMHHMHH", r"sex: the column holds H beside M.*clinical.codes.sex"),  # hombre, mujer
        ("sex", "VMMM", "sex: the column holds V beside M"),  # one man among women: a letter alone is enough
        ("sex", "MMWW", "sex: the column holds W beside M"),
        ("sex", "HHFF", "sex: the column holds H beside F"),
        ("sex", ["1", "2", "1"] * 2, "sex: the column holds 1 and 2; say what they mean"),
        ("os_event", "1212121", "os_event: the column holds 1 and 2 and no 0, so 1 may mean yes or no"),
        ("os_event", "12121210", "os_event: the column holds 1 and 2 and a single 0"),
        ("os_event", "0102012", r"os_event: the column holds 0, 1 and 2.*\{1: \[1, 2\], 0: \[0\]\}"),
        ("rfs_event", "0102012", "rfs_event: the column holds 0, 1 and 2.*without recurrence.*give rfs_cause"),
        ("vascular_invasion", "0199", "vascular_invasion: 2 rows hold 9, which is none of 0, 1; .*clinical.missing"),
        ("tumour_single", ["0", "1", "unclear", "unclear"], "tumour_single: 2 rows hold text, which is none of 0, 1"),
        ("rfs_cause", ["recurrence", "1", "1"], "rfs_cause: 2 rows hold 1, which is none of recurrence, death"),
        ("os_months", ["300", "400", "500", "1,204", "1,300"], "os_months: 2 cells can be read in two ways"),
        ("l3_z_mm", ["-1.204", "-1.300", "-1,5", "-2,5", "-3,5"], "l3_z_mm: 2 cells can be read in two ways"),
    ],
)
def test_a_column_that_is_doubtful_as_a_whole_stops_the_run(tmp_path, name, values, message):
    with pytest.raises(ClinicalTableError, match=message):
        read(tmp_path, column(name, values))


@pytest.mark.parametrize(
    ("name", "values", "left_out"),
    [
        ("sex", ["M", "F", "M", "F", "X", "X"], 2),  # with M and F both there, X makes neither doubtful
        ("sex", ["M", "M", "female", "1"], 1),
        ("os_event", "0101012", 1),
        ("vascular_invasion", "01019", 1),
        ("os_months", ["30", "40", "1,204"], 1),
    ],
)
def test_a_slip_costs_its_row_alone(tmp_path, name, values, left_out):
    good, excluded, _ = read(tmp_path, column(name, values))
    assert (len(good), len(excluded)) == (len(values) - left_out, left_out)


@pytest.mark.parametrize(
    ("text", "settings", "value"),
    [
        ("1,204.5", {}, 1204.5),
        ("1.204,5", {}, 1204.5),
        ("1 204", {}, 1204),
        ("1\u202f204,5", {}, 1204.5),
        ("1'204", {}, 1204),
        ("1,204", {"decimal": "."}, 1204),
        ("1.204", {"decimal": ","}, 1204),
        ("-2,204,000.5", {}, None),  # a number, and out of the range
        ("1,20", {"decimal": "."}, None),
        ("12,04.5", {}, None),
    ],
)
def test_thousands_are_read_where_they_can_be_nothing_else(tmp_path, text, settings, value):
    good, excluded, _ = read(tmp_path, [{"l3_z_mm": text}, {}], **settings)
    assert len(excluded) == (value is None)
    assert value is None or good["l3_z_mm"].tolist()[0] == value


def test_codes_of_the_missing_hold_for_the_columns_that_they_are_given_for(tmp_path):
    rows = [{"os_months": "9", "tumour_size_cm": "3", "vascular_invasion": "9"}, {"tumour_size_cm": "9"}, {}]
    good, excluded, _ = read(tmp_path, rows, missing={"vascular_invasion": [9]})
    assert excluded.empty and good["os_months"].tolist() == [9, 30, 30]
    assert good["tumour_diameter_over_5cm"].tolist()[:2] == [0, 1] and good["vascular_invasion"].isna().all()
    with pytest.raises(ClinicalTableError, match="9 may be a value of os_months, tumour_size_cm; .*vascular_invasion"):
        read(tmp_path, rows, missing=[9])
    with pytest.raises(ClinicalTableError, match="999 may be a value of os_months"):  # days
        read(tmp_path, column("os_months", [999, 800, 700]), missing=[999], units={"time": "days"})
    with pytest.raises(ClinicalTableError, match="0 may be a value of os_event"):
        read(tmp_path, column("os_event", [0, 1, 1]), missing=[0])
    with pytest.raises(ClinicalTableError, match="'vascular_invasio' is no column.*did you mean 'vascular_invasion'"):
        read(tmp_path, rows, missing={"vascular_invasio": [9]})
    good, _, _ = read(tmp_path, column("age", [-9, 999, 60]), missing=[-9, 999])  # neither can be an age
    assert good["age"].isna().tolist() == [True, True, False]


def test_dates_that_a_spreadsheet_has_read_in_part(tmp_path):
    book = openpyxl.Workbook()
    book.active.append(["patient_id", *DATED])
    for k, surgery in enumerate([dt.datetime(2020, 2, 3), "15/02/2020", dt.datetime(2020, 1, 5), "28/02/2020"]):
        book.active.append([f"P{k}", "here", "M", surgery, None, dt.datetime(2022, 3, 1)])
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(ClinicalTableError, match="surgery_date holds dates and text.*day and month exchanged"):
        read_clinical(tmp_path / "t.xlsx", ["here"], ClinicalParams(dates={"format": "%d/%m/%Y"}), TODAY)


@pytest.mark.parametrize(
    ("dates", "message"),
    [
        (["03.02.2020", "02.15.2020", "05.02.2020", "02.28.2020"], r"2 of 4 dates.*'%m.%d.%Y'"),
        (["02.15.2020", "02.28.2020", "02.27.2020"], r"3 of 3 dates.*'%m.%d.%Y'"),
        (["2020-03-02", "15.02.2020", "2020-05-01", "28.02.2020"], "2 of 4 dates are written year first"),
    ],
)
def test_an_order_of_day_and_month_that_fits_a_part(tmp_path, dates, message):
    with pytest.raises(ClinicalTableError, match=message):
        read(tmp_path, column("surgery_date", dates), base=DATED, dates={"format": "%d.%m.%Y"})


def test_one_wrong_date_costs_its_row(tmp_path):
    dates = ["03.02.2020", "02.15.2020", "05.02.2020", "30.02.2020"]
    _, excluded, _ = read(tmp_path, column("surgery_date", dates), base=DATED, dates={"format": "%d.%m.%Y"})
    assert excluded["patient_id"].tolist() == ["P01", "P03"]


def test_a_last_contact_that_is_the_day_of_an_export(tmp_path):
    rows = [{"death_date": "01.03.2021"}, {}, {"death_date": "01.09.2020"}, {}, {}]
    form = {"format": "%d.%m.%Y"}
    good, excluded, doubts = read(tmp_path, rows, base=DATED, dates=form)
    assert excluded.empty and good["os_event"].tolist() == [1, 0, 1, 0, 0]
    assert good["os_months"].tolist()[0] == pytest.approx(390 / 30.4375)
    assert "last_contact_date is one day for 5 of 5 patients" in doubts[0]
    own = [row | {"last_contact_date": f"0{k + 1}.04.2022"} for k, row in enumerate(rows)]
    with pytest.raises(
        ClinicalTableError, match="all 2 patients who died are excluded, and 3 who did not stay.*after death"
    ):
        read(tmp_path, own, base=DATED, dates=form)


@pytest.mark.parametrize("first", ["0", "0.001", "1e-30"])
@pytest.mark.parametrize("units", [{}, {"time": "days"}])
def test_an_event_on_the_day_of_surgery_counts_as_half_a_day(tmp_path, units, first):
    months = [first, "0", "200", "210", "220"]
    rows = [
        {"os_months": m, "os_event": e, "rfs_months": m, "rfs_event": e} for m, e in zip(months, "10010", strict=True)
    ]
    good, excluded, doubts = read(tmp_path, rows, units=units)
    assert good.loc[0, ["os_months", "rfs_months"]].tolist() == pytest.approx([0.5 / 30.4375] * 2)
    assert excluded["patient_id"].tolist() == ["P01"]  # of a living patient, no follow-up at all
    assert [text[:9] for text in doubts] == ["os_months", "rfs_month"] and "half a day" in doubts[0]
    same_day = [{"death_date": DATES["surgery_date"], "last_contact_date": ""}, {}]
    good, excluded, _ = read(tmp_path, same_day, base=DATED, dates={"format": "%d.%m.%Y"})
    assert excluded.empty and good.at[0, "os_months"] == pytest.approx(0.5 / 30.4375)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_table_that_ends_within_a_row_is_pointed_out(tmp_path, ending, whole):
    rows = ["patient_id,set,sex,os_months,os_event", "P1,here,M,30,1", "P2,here,F,31,0"]
    content = ending.join(rows) + ending * whole
    (tmp_path / "patients.csv").write_bytes(content.encode())
    doubts: list[str] = []
    good, _ = read_clinical(tmp_path / "patients.csv", ["here"], ClinicalParams(), TODAY, doubts)
    assert len(good) == 2 and [text for text in doubts if "cut short" in text] == doubts[:1] * (not whole)


def test_times_that_differ_in_the_last_bits_are_tied(tmp_path):
    times = np.array([[12.0, np.nan], [12.000000000000002, 11.999999999], [12.001, 5.0]])
    expected = [[11.999999999, np.nan], [11.999999999, 11.999999999], [12.001, 5.0]]
    np.testing.assert_array_equal(tied_times(times), expected)
    assert tied_times([3.0]).tolist() == [3.0] and tied_times([0.1 + 0.2, 0.3]).tolist() == [0.3, 0.3]
    assert tied_times([1e5, 1e5 + 1e-4]).tolist() == [1e5, 1e5]  # relative to the mean, as R
    rows = [{"os_months": "12.000000000000002"}, {"os_months": "12"}, {"os_months": "12.01"}]
    assert read(tmp_path, rows)[0]["os_months"].tolist() == [12, 12, 12.01]


@pytest.mark.parametrize(
    ("os_months", "rfs_months", "kept"),
    [("12", "12.3", True), ("12", "12.97", True), ("12.3", "12.34", True), ("12", "13.2", False), ("12", "13", False)],
)
def test_os_and_rfs_may_be_rounded_differently(tmp_path, os_months, rfs_months, kept):
    more = {"os_months": "20", "rfs_months": "12.5", "rfs_event": "1"} if "." in rfs_months else {}
    rows = [{"os_months": os_months, "rfs_months": rfs_months, "rfs_event": "1"}, more]
    good, excluded, doubts = read(tmp_path, rows)
    assert excluded.empty == kept
    assert not kept or (good.at[0, "rfs_months"] == float(os_months) and "by its rounding in 1 rows" in doubts[0])


def test_a_threshold_of_our_own_needs_the_diameter(tmp_path):
    rows = [{"tumour_size_cm": "4"}, {"tumour_diameter_over_5cm": "1"}]
    good, excluded, _ = read(tmp_path, rows, tumour_threshold_cm=3.0)
    assert good["tumour_diameter_over_5cm"].tolist() == [1] and "give tumour_size_cm alone" in excluded.at[0, "reason"]


@pytest.mark.parametrize(
    ("heading", "meant"),
    [("heigth_m", "height_m"), ("height", "height_m"), ("Tumor size cm", "tumour_size_cm"), ("center", "centre")],
)
def test_a_heading_that_is_almost_one_of_ours_is_pointed_out(tmp_path, heading, meant):
    good, _, doubts = read(tmp_path, [{heading: "1.7"}, {}])
    assert len(good) == 2 and [f"a column {heading} that is not used; did you mean {meant}?" in d for d in doubts] == [
        True
    ]
    assert read(tmp_path, [{meant: "", heading: "1.7"}, {}])[2] == []  # ours is there
    assert read(tmp_path, [{"recurrence_months": "5", "Hospital": "x"}, {}])[2] == []


def test_sets_without_anybody_are_named(tmp_path):
    _, _, doubts = read(tmp_path, [{}, {}], sets=("discovery", "external", "here"))
    assert doubts[0].startswith("no patient of the table is of the sets discovery, external; give null in cohort.sets")
    assert read(tmp_path, [{}, {"set": "other"}], sets=("here", "other"))[2] == []


# ---- loss by outcome ----------------------------------------------------------------------------------------


def loss(gone_dead, all_dead, gone_alive, all_alive, months=None):
    died = pd.Series([1.0] * all_dead + [0.0] * all_alive)
    out = (
        [True] * gone_dead + [False] * (all_dead - gone_dead) + [True] * gone_alive + [False] * (all_alive - gone_alive)
    )
    excluded = pd.Series(out)
    times = pd.Series(np.full(len(died), 10.0) if months is None else months)
    return loss_by_outcome(excluded, died, times, pd.Series("why", died.index).where(excluded))


@pytest.mark.parametrize(
    ("counts", "stop", "doubt"),
    [
        ((4, 4, 0, 8), "all 4 patients who died are excluded, and 8 who did not stay.*most often: why", None),
        ((0, 8, 3, 3), "all 3 patients who lived are excluded, and 8 who did not stay", None),
        ((4, 4, 5, 8), "all 4 patients who died", None),
        ((9, 20, 0, 40), "", "9 of 20 patients who died and 0 of 40 who lived are excluded"),
        ((0, 20, 12, 20), "", "0 of 20 patients who died and 12 of 20 who lived"),
        ((2, 20, 3, 40), "", None),
        ((1, 1, 0, 8), "", None),  # one death is too few to say
        ((0, 4, 0, 8), "", None),
    ],
)
def test_loss_that_falls_on_one_outcome(counts, stop, doubt):
    said, doubts = loss(*counts)
    assert bool(said) == bool(stop) and (not stop or pd.Series(said).str.contains(stop)[0])
    assert [doubt in text for text in doubts] == ([True] if doubt else [])


def test_loss_that_falls_on_the_longest_observed():
    _, doubts = loss(3, 20, 3, 20, months=[90, 91, 92, *range(10, 27), 93, 94, 95, *range(30, 47)])
    assert "exclusion depends on the time observed: median 92.5 months of 6 excluded and 28.0" in doubts[0]
    assert loss(3, 20, 3, 20)[1] == []


def test_a_table_that_loses_its_deaths_stops_the_run(tmp_path):
    rows = [{"os_event": str(k % 2), "age": "5" if k % 2 else "60"} for k in range(8)]
    with pytest.raises(ClinicalTableError, match="all 4 patients who died are excluded.*age 5 is outside"):
        read(tmp_path, rows)
