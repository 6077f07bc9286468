"""The clinical table: every unusable row is named with its reason, the others are untouched, no text is repeated."""

import datetime as dt

import numpy as np
import openpyxl
import pandas as pd
import pytest

from analysis_lib.cohort.clinical import ClinicalTableError, read_clinical, read_patient_ids
from analysis_lib.cohort.columns import COLUMNS, KEPT, data_dictionary, schema
from analysis_lib.core.clinical_params import ClinicalParams
from analysis_lib.ui.reference import PAGES

SETS = ["discovery", "external"]
TODAY = dt.date(2024, 6, 1)
GOOD = {
    "patient_id": "P1", "set": "discovery", "sex": "M", "age": "60", "height_m": "1.7", "bmi": "23", "os_months": "30",
    "os_event": "1", "rfs_months": "12", "rfs_event": "1", "tumour_single": "1",
}  # fmt: skip
DATES = {"surgery_date": "01.02.2020", "death_date": "", "recurrence_date": "", "last_contact_date": "01.02.2022"}
NO_MONTHS = {c: v for c, v in GOOD.items() if not c.startswith(("os_", "rfs_"))}


def rows_of(*changes, base=GOOD):
    return pd.DataFrame([base | {"patient_id": f"P{k + 1}"} | change for k, change in enumerate(changes)]).fillna("")


def read(tmp_path, *changes, encoding="utf-8", sep=",", base=GOOD, **settings):
    path = tmp_path / "patients.csv"
    path.write_bytes(rows_of(*changes, base=base).to_csv(index=False, sep=sep).encode(encoding))
    return read_clinical(path, SETS, ClinicalParams(**settings), TODAY)


def read_text(tmp_path, text, **settings):
    (tmp_path / "patients.csv").write_bytes(text.encode() if isinstance(text, str) else text)
    return read_clinical(tmp_path / "patients.csv", SETS, ClinicalParams(**settings), TODAY)


def write_excel(path, frame, change=lambda sheet: None, more_sheets=0):
    book = openpyxl.Workbook()
    sheet = book.active
    for row in [list(frame.columns), *frame.values.tolist()]:
        sheet.append(row)
    change(sheet)
    for k in range(more_sheets):
        book.create_sheet(f"more{k}").append(["something"])
    book.save(path)
    return path


NUMBERS = ["age", "height_m", "bmi", "os_months", "os_event", "rfs_months", "rfs_event", "tumour_single"]


def excel_frame(n=2):
    frame = rows_of(*[{}] * n)
    return frame.astype(dict.fromkeys(NUMBERS, float))


def test_codes_of_the_missing_are_empty_cells(tmp_path):
    changes = {"age": "-9", "bmi": "999.0", "tumour_single": "999", "rfs_months": "-9", "rfs_event": "-9"}
    clinical, excluded = read(tmp_path, changes, {"os_months": "999"}, {"bmi": "24"}, missing=[-9, 999.0])
    assert clinical["patient_id"].tolist() == ["P1", "P3"]
    assert clinical.set_index("patient_id").loc["P1", list(changes)].isna().all()
    assert clinical.set_index("patient_id").loc["P3", "bmi"] == 24
    assert excluded["reason"].tolist() == ["os_months is missing; fill it in"]
    _, without = read(tmp_path, changes)
    assert without["patient_id"].tolist() == ["P1"] and "age" in without["reason"][0]


def test_a_good_table_keeps_every_value(tmp_path):
    good, excluded = read(tmp_path, {}, {"set": "external", "rfs_months": "", "rfs_event": ""})
    assert excluded.empty
    assert good.columns.tolist() == [c.name for c in KEPT]
    assert good.loc[0, ["age", "height_m", "os_months", "os_event"]].tolist() == [60, 1.7, 30, 1]
    assert np.isnan(good.loc[1, "rfs_months"]) and np.isnan(good.loc[1, "vascular_invasion"])


ROW_FAULTS = [
    ({"height_m": "170"}, "height_m 170: looks like centimetres; set clinical.units.height: cm"),
    ({"height_m": "1700"}, "height_m 1700 is outside 1.2 to 2.3 metres"),
    ({"height_m": "inf"}, "height_m is infinite"),
    ({"height_m": "1.7.0"}, r"height_m is not a number \(text\)"),
    ({"sex": ""}, "sex is missing"),
    ({"os_months": "-3"}, "os_months -3 is negative"),
    ({"os_months": "0", "os_event": "0", "rfs_months": "", "rfs_event": ""}, "os_months 0: no time of follow-up"),
    ({"os_months": "abc"}, r"os_months is not a number \(text\)"),
    ({"os_months": "1825"}, "os_months 1825: looks like days; set clinical.units.time: days"),
    ({"os_months": "19800131"}, "os_months a number of 8 digits is outside"),
    ({"os_months": "1,234"}, r"os_months can be read in two ways \(1,234\); set clinical.decimal"),
    ({"os_event": "2"}, r"os_event 2 is none of 0, 1; .*clinical.codes.os_event: \{1: \[2\], 0: \[1\]\}"),
    ({"os_event": "NA"}, "os_event is missing"),
    ({"sex": "1"}, r"sex 1 is none of M, F; .*clinical.codes.sex: \{M: \[1\], F: \[2\]\}"),
    ({"set": "extrenal"}, r"set \(text\) is none of discovery, external \(did you mean 'external'\?\)"),
    ({"age": "5"}, "age 5 is outside"),
    ({"bmi": "230"}, "bmi 230: looks like a value with a lost decimal sign"),
    ({"bmi": "", "weight_kg": "30", "height_m": "2.2"}, "impossible BMI"),
    ({"rfs_event": ""}, "must be given together"),
    ({"rfs_months": "31"}, "longer than os_months"),
    ({"rfs_cause": "death", "os_event": "0"}, "rfs_cause is death but os_event is 0"),
    ({"rfs_cause": "recurrence", "rfs_event": "0"}, "rfs_cause is given but rfs_event is not 1"),
    ({"tumour_single": "perhaps"}, "tumour_single text is none of 0, 1"),
    ({"tumour_size_cm": "62"}, "looks like millimetres; set clinical.units.tumour_size: mm"),
    ({"tumour_size_cm": "6", "tumour_diameter_over_5cm": "0"}, "contradict each other"),
    ({"centre": "Mercy Hospital"}, "centre may hold letters"),
    ({"series_uid": "1.2.x"}, "series_uid is no DICOM UID"),
    ({"ct_path": "/etc/passwd"}, "ct_path leads outside the data folder"),
    ({"ct_path": "../other"}, "ct_path leads outside the data folder"),
    ({"mask_path": "..\\other"}, "mask_path leads outside the data folder"),
    ({"mask_path": "C:\\x.nrrd"}, "mask_path leads outside the data folder"),
    ({"ct_path": "x" * 3000}, "ct_path is no usable path"),
    ({"l3_z_mm": "here"}, "l3_z_mm is not a number"),
    ({"patient_id": "=cmd|' /C calc'!A0"}, "patient_id may hold letters"),
    ({"patient_id": "1.23457E+11"}, "rounded number by Excel"),
    ({"patient_id": ""}, "patient_id is missing"),
    ({"age": "6\n0"}, "runs over several lines"),
]


@pytest.mark.parametrize(("change", "reason"), ROW_FAULTS)
def test_a_bad_row_is_excluded_with_its_reason_and_the_rest_stay(tmp_path, change, reason):
    alone, _ = read(tmp_path, {}, {"age": "61"})
    good, excluded = read(tmp_path, {}, {"age": "61"}, change)
    pd.testing.assert_frame_equal(good, alone)
    named = "P3" if "patient_id" not in change else "line 4 of the table"
    assert excluded["patient_id"].tolist() == [named]
    assert excluded["reason"].str.contains(reason, regex=True).all(), excluded["reason"].tolist()


# A column of which no single row, or not every row, shows that it is in another unit.
WHOLE_COLUMNS = [
    ("height_m", ["172", "165", "180", "158"], {}, "centimetres.*168.5, and metres.*clinical.units.height: cm"),
    ("height_m", ["1,72", "1,65", "1,80"], {"height": "cm"}, "metres.*1.72, and centimetres.*clinical.units.height: m"),
    ("os_months", ["200", "350", "420", "1825"], {}, "days.*385, and months.*clinical.units.time: days"),
    ("os_months", ["20", "24", "28"], {"time": "days"}, "months.*clinical.units.time: months"),
    ("os_months", ["900", "24", "1200"], {"time": "years"}, "days.*900, and years.*clinical.units.time: days"),
    ("rfs_months", ["300", "350", "590"], {}, "days.*clinical.units.time: days"),
    ("tumour_size_cm", ["22", "31", "38", "64"], {}, "millimetres.*clinical.units.tumour_size: mm"),
    ("tumour_size_cm", ["2.2", "3.1", "6.4"], {"tumour_size": "mm"}, "centimetres.*clinical.units.tumour_size: cm"),
    ("weight_kg", ["140", "165", "190"], {}, "pounds.*give kg in the column"),
]


@pytest.mark.parametrize(("column", "values", "units", "reason"), WHOLE_COLUMNS)
def test_a_whole_column_in_another_unit_stops_the_run_with_its_name(tmp_path, column, values, units, reason):
    changes = [{"rfs_months": "", "rfs_event": "", column: value} for value in values]
    with pytest.raises(ClinicalTableError, match=f"^{column}: the whole column looks like {reason}$"):
        read(tmp_path, *changes, units=units)


def test_a_few_values_in_another_unit_cost_their_rows_and_no_more(tmp_path):
    good, excluded = read(tmp_path, {}, {}, {}, {"height_m": "170"}, {"height_m": "180"})
    assert len(good) == 3 and excluded["reason"].str.contains("looks like centimetres").all()
    short = [{"os_months": months, "rfs_months": "", "rfs_event": ""} for months in ("1", "2", "3")]
    assert len(read(tmp_path, *short)[0]) == 3  # a study may be short: these are not taken for years
    _, excluded = read(tmp_path, {"os_months": "30000", "rfs_months": "", "rfs_event": ""}, units={"time": "days"})
    assert "os_months 30000 is outside 0 to 600" in excluded.at[0, "reason"]


@pytest.mark.parametrize("column", [c.name for c in COLUMNS])
def test_a_name_in_the_wrong_column_is_not_repeated(tmp_path, column):
    for planted in ("Mustermann", "Erika Mustermann", "19611231", "31.12.1961", "ACC20240001"):
        try:
            _, excluded = read(tmp_path, {}, {column: planted, "set": "external"} | {column: planted})
            text = excluded.to_csv()
        except ClinicalTableError as error:
            text = str(error)
        # an identifier of allowed characters is the study's own name for the patient
        if column != "patient_id":
            assert planted not in text and "Mustermann" not in text


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "Zhang Wei", "x" * 10_000, "\u202eP1", "P\u00a01"])
def test_an_identifier_that_may_lead_astray_is_not_repeated(tmp_path, name):
    good, excluded = read(tmp_path, {}, {"patient_id": name})
    assert len(good) == 1
    assert excluded["patient_id"].tolist() == ["line 3 of the table"]
    assert name not in excluded.to_csv()


def test_doubled_patients_and_patients_in_two_sets_are_excluded(tmp_path):
    x, y = {"patient_id": "X"}, {"patient_id": "Y"}
    good, excluded = read(tmp_path, {}, x, x | {"set": "external"}, y, y)
    assert good["patient_id"].tolist() == ["P1"]
    assert excluded["patient_id"].tolist() == ["X", "X", "Y", "Y"]
    assert excluded["reason"].tolist()[0] == "patient_id is in more than one set; keep one row"
    assert "more than once" in excluded["reason"].tolist()[3]


def test_a_symbolic_link_is_refused(tmp_path):
    (tmp_path / "link").symlink_to("/")
    (tmp_path / "loop").symlink_to("loop")
    _, excluded = read(tmp_path, {"ct_path": "link/etc"}, {"mask_path": "loop"}, {"ct_path": "ct/a b/1"})
    assert excluded["patient_id"].tolist() == ["P1", "P2"]
    assert excluded["reason"].str.contains("symbolic link").all()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("\ufeff", "is empty"),
        ("patient_id,set,sex,os_months,os_event\n", "has no patients"),
        ("patient_id,set\nP1,discovery\n", r"lacks the column\(s\) sex, os_months, os_event"),
        ("patient_id,set,sex,os_month,os_event\nP1,a,M,1,1\n", "os_months .did you mean 'os_month'"),
        ("patient_id,Patient-ID,set\nP1,a,M\n", "heading of column 2 twice"),
        ("patient_id,,set\nP1,a,M\n", "without a heading"),
        ('patient_id,set\n"P1,a\nP2,b\n', "quote that begins in row 2"),
        ("Mustermann Erika,1961-12-31\nX,Y\n", "lacks the column"),
        (b"\xff\xfep\x00", "UTF-16"),
        (b"patient_id\n\xe4\n", "cannot be read as utf-8; save it as 'CSV UTF-8', or set clinical.encoding"),
        (b"patient_id\nP\x00\n", "null characters"),
        (
            "patient_id,set,sex,os_months,os_event\nP1,external,M,30,1\nP2,external,F,9,2\nP3,external,F,7,2\n",
            "os_event: the column holds 1 and 2 and no 0, so 1 may mean yes or no; .*clinical.codes.os_event",
        ),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, reason):
    with pytest.raises(ClinicalTableError, match=reason) as caught:
        read_text(tmp_path, text)
    assert "Mustermann" not in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_cannot_be_used(tmp_path):
    with pytest.raises(ClinicalTableError, match="not found"):
        read_clinical(tmp_path / "patients.csv", SETS)
    for name in ("t.xlsx", "t.parquet"):
        (tmp_path / name).write_bytes(b"PK\x03\x04 nothing")
        with pytest.raises(ClinicalTableError, match="damaged"):
            read_clinical(tmp_path / name, SETS)
    (tmp_path / "t.xlsx").write_bytes(bytes.fromhex("d0cf11e0a1b11ae1") + bytes(512))  # as Excel encrypts a file
    with pytest.raises(ClinicalTableError, match="protected by a password or an old .xls; save it as .xlsx"):
        read_clinical(tmp_path / "t.xlsx", SETS)
    (tmp_path / "t.doc").write_text("x")
    with pytest.raises(ClinicalTableError, match="save it as CSV"):
        read_clinical(tmp_path / "t.doc", SETS)


def test_a_row_with_a_comma_too_many_or_too_few(tmp_path):
    text = "patient_id,set,sex,os_months,os_event\nP1,discovery,M,30,1\nP2,discovery,M,30,5,1\nP3,discovery,M\n"
    good, excluded = read_text(tmp_path, text)
    assert good["patient_id"].tolist() == ["P1"]
    assert "more values than" in excluded.at[0, "reason"] and "has 3 values" in excluded.at[1, "reason"]


@pytest.mark.parametrize(
    "settings",
    [
        {"encoding": "utf-8-sig"},
        {"sep": ";"},
        {"sep": "\t"},
        {"encoding": "cp1252"},
        {"sep": ";", "decimal": ","},
        {"sep": ";", "comma": True},
    ],
)
def test_ways_to_write_the_same_table(tmp_path, settings):
    expected, _ = read(tmp_path, {}, {"height_m": "1.705"})
    frame = rows_of({}, {"height_m": "1.705"})
    comma = settings.get("comma") or settings.get("decimal") == ","
    if comma:
        frame["height_m"] = frame["height_m"].str.replace(".", ",")
    encoding = settings.get("encoding", "utf-8")
    frame.insert(0, "Größe", "mit")
    text = frame.to_csv(index=False, sep=settings.get("sep", ","))
    own = {"encoding": encoding} if encoding == "cp1252" else {}
    if "decimal" in settings:
        own["decimal"] = ","
    good, excluded = read_text(tmp_path, text.encode(encoding), **own)
    assert excluded.empty, excluded["reason"].tolist()
    pd.testing.assert_frame_equal(good, expected)


def test_a_first_line_that_names_the_separator_is_no_heading(tmp_path):
    expected, _ = read(tmp_path, {}, {})
    text = "sep=;\r\n" + rows_of({}, {}, {"sex": ""}).to_csv(index=False, sep=";")
    for start in ("", "\ufeff"):
        good, excluded = read_text(tmp_path, start + text)
        pd.testing.assert_frame_equal(good, expected)
        assert excluded["patient_id"].tolist() == ["P3"]


def test_a_short_row_below_an_empty_line_is_noticed(tmp_path):
    _, excluded = read_text(tmp_path, "\npatient_id,set,sex,os_months,os_event,age\nP1,discovery,M,30,1\n")
    assert excluded["reason"].tolist() == ["row 3 has 5 values and the table 6 columns; mend the row"]


def test_blanks_and_blank_rows_do_not_count(tmp_path):
    text = "Patient ID , set,sex,os_months,os_event\n\n\u00a0P1\u00a0, discovery , male ,30\u200b, Yes\n,,,,\n"
    good, excluded = read_text(tmp_path, text)
    assert excluded.empty
    assert good.loc[0, ["patient_id", "sex", "os_event"]].tolist() == ["P1", "M", 1.0]


def test_columns_codes_and_units_are_mapped(tmp_path):
    text = "Pat;Gruppe;Geschl;Groesse;Zeit;Status;Tumor\n007;1;2;172;365,25;2;62\n008;2;1;180;730,5;1;50\n"
    settings = {
        "columns": {"patient_id": "Pat", "set": "gruppe", "sex": "Geschl", "height_m": "Groesse", "os_months": "Zeit",
                    "os_event": "Status", "tumour_size_cm": "Tumor"},
        "codes": {"set": {"discovery": [1], "external": [2]}, "sex": {"M": [1], "F": [2]},
                  "os_event": {1: [2], 0: [1]}},
        "units": {"height": "cm", "time": "days", "tumour_size": "mm"},
    }  # fmt: skip
    good, excluded = read_text(tmp_path, text, **settings)
    assert excluded.empty, excluded["reason"].tolist()
    assert good["patient_id"].tolist() == ["007", "008"]
    assert good["sex"].tolist() == ["F", "M"] and good["os_event"].tolist() == [1, 0]
    assert good["height_m"].tolist() == [1.72, 1.8]
    assert good["os_months"].tolist() == pytest.approx([12, 24])
    assert good["tumour_diameter_over_5cm"].tolist() == [1, 0]  # 50 mm is not above 5 cm


def test_letters_with_dots_as_a_mac_writes_them(tmp_path):
    text = "patient_id,set,Geschlecht,Gro\u0308\u00dfe,os_months,os_event\nP1,discovery,ma\u0308nnlich,1.72,30,1\n"
    columns = {"sex": "Geschlecht", "height_m": "Gr\u00f6\u00dfe"}
    good, excluded = read_text(tmp_path, text, columns=columns, codes={"sex": {"M": ["m\u00e4nnlich"]}})
    assert excluded.empty and good["height_m"].tolist() == [1.72] and good["sex"].tolist() == ["M"]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"columns": {"sexx": "sex"}}, "'sexx' is no column of the study .did you mean 'sex'"),
        ({"columns": {"sex": "Geschlecht"}}, "no column 'Geschlecht' for sex"),
        ({"columns": {"sex": "tumour_single"}}, "maps 'tumour_single' to sex, but the table has a column sex too"),
        ({"codes": {"age": {"1": [2]}}}, "'age' is no coded column"),
        ({"codes": {"sex": {"male": [1]}}}, "'male' is none of M, F"),
        ({"encoding": "klingon"}, "clinical.encoding is unknown"),
    ],
)
def test_a_mapping_that_cannot_be_meant_stops_the_run(tmp_path, settings, reason):
    with pytest.raises(ClinicalTableError, match=reason):
        read_text(tmp_path, rows_of({}).to_csv(index=False), **settings)


def test_dates_become_months(tmp_path):
    base = NO_MONTHS | DATES
    died = {"recurrence_date": "01.02.2021", "death_date": "31.01.2022", "last_contact_date": ""}
    good, excluded = read(tmp_path, {}, died, base=base, dates={"format": "%d.%m.%Y"})
    assert excluded.empty, excluded["reason"].tolist()
    assert good["os_months"].tolist() == pytest.approx([731 / 30.4375, 730 / 30.4375])
    assert good["os_event"].tolist() == [0, 1] and good["rfs_event"].tolist() == [0, 1]
    assert good.at[1, "rfs_months"] == pytest.approx(366 / 30.4375)
    assert good["rfs_cause"].tolist() == [None, "recurrence"]
    good, _ = read(tmp_path, {}, base=base, dates={"format": "%d.%m.%Y", "rfs_sets": ["external"]})
    assert np.isnan(good.at[0, "rfs_months"])
    coded = {"dates": {"format": "%d.%m.%Y", "rfs_sets": ["discovery"]}, "codes": {"set": {"discovery": ["A"]}}}
    good, _ = read(tmp_path, {"set": "A"}, base=base, **coded)
    assert good.at[0, "rfs_months"] == good.at[0, "os_months"]
    with pytest.raises(ClinicalTableError, match="rfs_sets: 'externl' is no set .did you mean 'external'"):
        read(tmp_path, {}, base=base, dates={"format": "%d.%m.%Y", "rfs_sets": ["externl"]})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"death_date": "31.01.2020"}, "death_date is before surgery_date"),
        ({"last_contact_date": "31.12.2019"}, "last_contact_date is before surgery_date"),
        ({"last_contact_date": "01.07.2024"}, "last_contact_date lies in the future"),
        ({"death_date": "01.01.2022"}, "last_contact_date is after death_date"),
        ({"recurrence_date": "01.01.2023"}, "recurrence_date is after death or last contact"),
        ({"last_contact_date": ""}, "are both missing"),
        ({"surgery_date": ""}, "surgery_date is missing"),
        ({"surgery_date": "2020-02-01"}, "surgery_date is no date of the form %d.%m.%Y"),
        ({"surgery_date": "30.02.2020"}, "surgery_date is no date"),
        ({"last_contact_date": "01.02.2020"}, "no time of follow-up"),
        ({"surgery_date": "01.02.1920"}, "lie more than 50 years apart; mend the dates"),
    ],
)
def test_dates_that_cannot_be(tmp_path, change, reason):
    settings = {"base": NO_MONTHS | DATES, "dates": {"format": "%d.%m.%Y"}}
    alone, _ = read(tmp_path, {}, **settings)
    good, excluded = read(tmp_path, {}, change, **settings)
    pd.testing.assert_frame_equal(good, alone)
    assert excluded["reason"].str.contains(reason).all() and len(excluded) == 1, excluded["reason"].tolist()
    assert not excluded["reason"].str.contains("20[0-9][0-9]", regex=True).any()  # no date is shown


def test_dates_need_their_format_and_no_months_beside_them(tmp_path):
    _, excluded = read(tmp_path, {}, base=NO_MONTHS | DATES)
    assert "clinical.dates.format" in excluded.at[0, "reason"]
    with pytest.raises(ClinicalTableError, match="os_months and surgery_date; keep months or dates, not both"):
        read(tmp_path, {}, base=GOOD | DATES, dates={"format": "%d.%m.%Y"})
    both = NO_MONTHS | DATES | {"rfs_months": "300", "rfs_event": "1"}
    with pytest.raises(ClinicalTableError, match="rfs_months and recurrence_date; keep"):
        read(tmp_path, {}, base=both, dates={"format": "%d.%m.%Y"})
    del both["recurrence_date"]  # dates of death alone: the table's own times keep their unit
    good, _ = read(tmp_path, {}, base=both, dates={"format": "%d.%m.%Y"}, units={"time": "days"})
    assert good.at[0, "rfs_months"] == pytest.approx(300 / 30.4375)


def test_excel_and_parquet_give_the_same(tmp_path):
    expected, _ = read(tmp_path, {}, {})
    frame = excel_frame()
    frame.to_parquet(tmp_path / "t.parquet")
    for path in (write_excel(tmp_path / "t.xlsx", frame), tmp_path / "t.parquet"):
        good, excluded = read_clinical(path, SETS)
        assert excluded.empty, excluded["reason"].tolist()
        pd.testing.assert_frame_equal(good, expected)


def test_leading_zeros_of_identifiers_stay(tmp_path):
    frame = excel_frame()
    frame["patient_id"] = [7, 8]

    def format_ids(sheet):
        for cell in sheet["A"][1:]:
            cell.number_format = "00000"

    good, _ = read_clinical(write_excel(tmp_path / "t.xlsx", frame, format_ids), SETS)
    assert good["patient_id"].tolist() == ["00007", "00008"]
    good, _ = read(tmp_path, {"patient_id": "0007"})
    assert good["patient_id"].tolist() == ["0007"]


@pytest.mark.parametrize(
    ("cell", "value", "reason"),
    [
        ("E3", "=1+1", "cell E3 is a formula without a saved value"),
        ("E3", "#DIV/0!", "cell E3 holds an Excel error"),
        ("G3", dt.datetime(2024, 3, 1), "os_months is a date, as Excel makes of 12.5"),
        ("A3", 1.2345678901234567e17, "cell A3 has lost digits"),
    ],
)
def test_faulty_excel_cells_exclude_their_patient(tmp_path, cell, value, reason):
    path = write_excel(tmp_path / "t.xlsx", excel_frame(), lambda sheet: sheet.__setitem__(cell, value))
    good, excluded = read_clinical(path, SETS)
    assert good["patient_id"].tolist() == ["P1"]
    assert excluded["reason"].str.contains(reason).all(), excluded["reason"].tolist()


def test_excel_sheets_and_merged_cells(tmp_path):
    path = write_excel(tmp_path / "t.xlsx", excel_frame(), more_sheets=1)
    with pytest.raises(ClinicalTableError, match="2 filled sheets; name the right one in clinical.sheet"):
        read_clinical(path, SETS)
    assert len(read_clinical(path, SETS, ClinicalParams(sheet="Sheet"))[0]) == 2
    with pytest.raises(ClinicalTableError, match="no sheet 'Sheet9'"):
        read_clinical(path, SETS, ClinicalParams(sheet="Sheet9"))
    path = write_excel(tmp_path / "t.xlsx", excel_frame(), lambda sheet: sheet.merge_cells("B2:B3"))
    with pytest.raises(ClinicalTableError, match="merged cells .B2:B3"):
        read_clinical(path, SETS)


def test_real_dates_of_excel_need_no_format(tmp_path):
    frame = pd.DataFrame([NO_MONTHS | {"surgery_date": dt.datetime(2020, 2, 1), "death_date": None,
                                       "last_contact_date": dt.datetime(2022, 2, 1)}])  # fmt: skip
    good, excluded = read_clinical(write_excel(tmp_path / "t.xlsx", frame), SETS, None, TODAY)
    assert excluded.empty, excluded["reason"].tolist()
    assert good.at[0, "os_months"] == pytest.approx(731 / 30.4375)


def test_weight_gives_the_missing_bmi(tmp_path):
    good, _ = read(tmp_path, {"bmi": "", "weight_kg": "70", "height_m": "1.75"})
    assert good.at[0, "bmi"] == pytest.approx(70 / 1.75**2)
    assert "weight_kg" not in good


def test_identifiers_alone(tmp_path):
    (tmp_path / "new.csv").write_text("patient_id,height_m\nN2,1.7\nN1,\na b,1\nN3,1\nN3,1\n")
    patients, excluded = read_patient_ids(tmp_path / "new.csv")
    assert patients["patient_id"].tolist() == ["N1", "N2"]
    assert excluded["patient_id"].tolist() == ["line 4 of the table", "N3", "N3"]
    (tmp_path / "new.csv").write_text("Pat;L3\nN1;-81,5\nN2;\nN3;there\n")
    settings = ClinicalParams(columns={"patient_id": "Pat", "l3_z_mm": "L3", "death_date": "Todesdatum"})
    patients, excluded = read_patient_ids(tmp_path / "new.csv", settings)
    assert patients["l3_z_mm"].tolist() == pytest.approx([-81.5, np.nan], nan_ok=True)
    assert "l3_z_mm is not a number" in excluded.at[0, "reason"]
    with pytest.raises(ClinicalTableError, match="no column 'Nr' for patient_id"):
        read_patient_ids(tmp_path / "new.csv", ClinicalParams(columns={"patient_id": "Nr"}))


def test_dictionary_covers_the_schema():
    table = data_dictionary()
    assert table["column"].tolist() == [c.name for c in COLUMNS]
    assert (table["meaning"].str.len() > 0).all()
    checked, page = schema(SETS).columns, PAGES["data_dictionary.md"]()
    assert list(checked) == [c.name for c in COLUMNS if c.kept]
    for column in KEPT:
        assert checked[column.name].nullable != column.required
        assert f"| `{column.name}` |" in page
