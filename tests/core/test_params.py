"""Parameters: typed, documented, and a misspelt name stops the run with the right one suggested."""

import json
from typing import get_args

import pytest
from pydantic import BaseModel

from analysis_lib.core.parameters import (
    ADJUSTMENT,
    PARAMS_DIR,
    IndexColumn,
    ParameterError,
    Params,
    RangeOf,
    load_params,
    write_sections,
)


def study(tmp_path, text):
    for path in PARAMS_DIR.glob("*.yaml"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "mine.yaml").write_text("base: standin\n" + text)
    return lambda: load_params("mine", tmp_path)


@pytest.mark.parametrize("sets", ["discovery: null", "discovery: {role: test}", "discovery: null, lt: null"])
def test_a_site_of_test_sets_alone_judges_a_saved_model_and_trains_none(tmp_path, sets):
    cohort = study(tmp_path, f"cohort: {{sets: {{{sets}}}}}\n")().cohort
    assert cohort.trained == [] and cohort.command("mine") == "make validate STUDY=mine MODEL=<folder>"
    with pytest.raises(ParameterError, match="nothing to train on; give one of them, or judge a saved model: make val"):
        cohort.check_trained()
    assert load_params("standin").cohort.command("a") == "make study STUDY=a"


@pytest.mark.parametrize("name", ["defaults", "standin", "smoke", "site.example"])
def test_shipped_studies_load(name):
    assert load_params(name).study == name


def test_a_change_of_one_value_keeps_the_rest(tmp_path):
    params = study(tmp_path, "definitions: {PMI: {men: 6.0}}\n")()
    assert params.definitions["PMI"].men == 6.0
    assert params.definitions["PMI"].women == 3.92
    assert params.definitions["SMI"].men == 50


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sede: 1\n", "unknown parameter 'sede'.*did you mean 'seed'"),
        ("statistics: {horizon_months: [12]}\n", "statistics.horizon_months.*did you mean 'horizons_months'"),
        ("definitions: {PMI: {man: 6}}\n", "definitions.PMI.man.*did you mean 'men'"),
        ("definitions: {PMI: {men: six}}\n", "definitions.PMI.men.*number.*six"),
        ("standin: {sets: {lt: {mem: 3}}}\n", "unknown parameter 'standin.sets.lt.mem'.*did you mean 'men'"),
        ("cohort: {internal_fraction: 1.5}\n", "cohort.internal_fraction.*less than 1"),
        ("images: {sm: {hu_window: {low: 150, high: -29}}}\n", "must be below high"),
        ("images: {sm: {labels: [0]}}\n", "images.sm.labels.0.*greater than 0"),  # the background
        ("images: {pm: {labels: [1, 0]}}\n", "images.pm.labels.1.*greater than 0"),
        ("images: {sm: {labels: [-1]}}\n", "images.sm.labels.0.*greater than 0"),
        ("cohort: {sets: {discovery: null, external: null, lt: null}}\n", "at least one set must be there"),
        ("cohort: {sets: {internal: {label: x, role: test}}}\n", "are kept for the parts"),
        ("clinical: {columns: {sex: Sex, age: sex}}\n", "clinical.*'sex' of the table twice"),
        ("clinical: {codes: {sex: {M: [1], F: [1]}}}\n", "codes.sex gives '1' two meanings"),
        ("clinical: {units: {heigth: cm}}\n", "clinical.units.heigth.*did you mean 'height'"),
        ("clinical: {file: ../x.csv}\n", "without a path"),
        ("definitions: {PMI: {men: .nan}}\n", "definitions.PMI.men.*finite"),
        ("definitions: {MA: {women: .inf}}\n", "definitions.MA.women.*finite"),
        (
            "definitions: {PMI: {men: -6.36}}\n",
            "definitions.PMI': a cut-off of pmi must be above 0, not -6.36; .* cm²/m²$",
        ),
        ("definitions: {PMI: {women: 0}}\n", "definitions.PMI.*cut-off of pmi must be above 0, not 0"),
        ("definitions: {PMI: -6.36}\n", r"definitions.PMI.*\(given: -6.36\)$"),  # the value is wrong, not the name
        (
            "definitions: {PMI: {men: 6360}}\n",
            "definitions.PMI.men 6360 cm²/m² lies outside 1 to 20: .*; give it in cm²/m², or widen cut_off_ranges.pmi$",
        ),
        ("definitions: {PMA: {women: 1464}}\n", "definitions.PMA.women 1464 cm² lies outside 3 to 50"),  # mm²
        ("definitions: {SMI: {men: 150}}\n", "definitions.SMI.men 150 .* outside 10 to 100"),  # an area
        (
            "definitions: {MA: {men: 1068}}\n",
            "definitions.MA.men 1068 HU lies outside 1 to 90",
        ),  # CT numbers from -1024
        ("definitions: {PD: {men: -38.5}}\n", "definitions.PD.men -38.5 HU lies outside"),
        ("definitions: {MA: {column: sm_mean_hu_z}}\n", "definitions.MA.men 44.4 HU lies outside -6 to 6"),
        (
            "further_definitions: {SMI Martin: {bmi_classes: [{bmi_at_least: 25, men: 5300, women: 41}]}}\n",
            "further_definitions.SMI Martin.bmi_classes.0.men 5300 .* outside 10 to 100",
        ),
        (
            "further_definitions: {SMI Martin: {bmi_classes: [{bmi_at_least: 0.25, men: 53, women: 41}]}}\n",
            "bmi_classes.0.bmi_at_least 0.25 kg/m² lies outside 10 to 70",
        ),
        ("cut_off_ranges: {pmi: {low: 30}}\n", r"cut_off_ranges.pmi': low \(30\) must be below high \(20\)"),
        (
            "statistics: {horizons_months: []}\n",
            r"statistics.horizons_months': must hold months, .* \[12, 36, 60\], not",
        ),
        ("statistics: {horizons_months: [12, 12]}\n", "statistics.horizons_months': must hold months, each once"),
        ("statistics: {horizons_months: [0]}\n", "statistics.horizons_months.0': .* greater than 0"),
        ("statistics: {horizons_months: [-12]}\n", "statistics.horizons_months.0': .* greater than 0"),
        (
            "statistics: {horizons_months: [1826]}\n",
            "statistics.horizons_months.0': .* less than or equal to 600",
        ),  # days
        ("statistics: {at_risk_months: [0, 12, 12]}\n", "statistics.at_risk_months': must hold months, each once"),
        ("statistics: {rmst_months: 0}\n", "statistics.rmst_months': .* greater than 0"),
        ("statistics: {rmst_months: -60}\n", "statistics.rmst_months': .* greater than 0"),
        ("statistics: {rmst_months: 1826}\n", "statistics.rmst_months': .* less than or equal to 600"),
        ("statistics: {auc_step_months: 0.001}\n", "auc_step_months .0.001. makes curves of 54000 months; take a step"),
        ("statistics: {spline_knots: [0.5, 0.1, 0.9]}\n", "spline_knots: give quantiles in rising order"),
        ("definitions: {PMA: null, PMI: null, PD: null, SMI: null, MA: null}\n", "definitions': .* at least 1 item"),
        ("autoencoder: {code_size: 0}\n", "autoencoder.code_size': .* greater than 0"),
        ("images: {sm: {hu_window: {low: .nan, high: 150}}}\n", "hu_window.low.*finite"),
        ("network: {hidden: [32, 0]}\n", "network.hidden.1.*greater than 0"),
        ("autoencoder: {hidden: [-5]}\n", "autoencoder.hidden.0.*greater than 0"),
        ("statistics: {auc_first_month: 70}\n", "auc_first_month \\(70\\) must not be after auc_last_month \\(60\\)"),
        ("statistics: {decision_thresholds: [0.6, 0.1]}\n", "decision_thresholds: the first"),
        ("definitions: {PMII: {men: 6}}\n", "'definitions.PMII' lacks source, .*did you mean 'PMI'"),
        ("definitions: {smi: {men: 6}}\n", "'definitions.smi' lacks source, .*did you mean 'SMI'"),
        ("definitions: {PMAA: null}\n", "definitions.PMAA.*did you mean 'PMA'"),
        ("cohort: {sets: {externall: {label: x}}}\n", "'cohort.sets.externall' lacks role; did you mean 'external'"),
        ("standin: {sets: {discoverry: {n: 9}}}\n", "standin.sets.discoverry.*did you mean 'discovery'"),
        ("statistics: {Confidence: 0.9}\n", "statistics.Confidence.*did you mean 'confidence'"),
        ("seed: [1\n", "not valid YAML"),
        ("seed: 1\nseed: 2\n", r"params/mine.yaml: 'seed' stands twice \(lines 2 and 3\); make one of them"),
        (
            "images: {min_mask_pixels: 9}\nseed: 1\nimages: {min_mask_pixels: 8}\n",
            "'images' stands twice .lines 2 and 4",
        ),
        ("definitions:\n  PMI: {men: 6}\n  PMI: {women: 4}\n", "'PMI' stands twice .lines 3 and 4"),
        ("statistics: {confidence: 0.9, confidence: 0.8}\n", "'confidence' stands twice"),
        ("[" * 5000, "nested too deeply|not valid YAML"),
        ("- seed\n", "not valid YAML"),
        ("further_definitions: {'=1+1': {men: 6}}\n", "further_definitions.=1.1.*spreadsheet takes for a formula"),
        ("definitions: {PMI: {label: ' -cmd'}}\n", "definitions.PMI.label.*must not begin with =, \\+, - or @"),
        ("definitions: {PMI: {source: '@SUM(1)'}}\n", "definitions.PMI.source.*must not begin"),
        ("cohort: {sets: {lt: {label: '+1'}}}\n", "cohort.sets.lt.label.*must not begin"),
        ("images: {sm: {hu_window: {low: -29, high: 150, source: '=1'}}}\n", "hu_window.source.*must not begin"),
        ("title: '\N{FULLWIDTH EQUALS SIGN}cmd'\n", "title.*must not begin"),
        ("standin: {sets: {lt: {bmi: {mean: 99999999999}}}}\n", "standin.sets.lt.bmi.mean.*less than 150"),
        ("standin: {sets: {lt: {bmi: {missing: 999}}}}\n", "bmi: count and missing together are more than"),
        ("standin: {sets: {lt: {n: 99999999999}}}\n", "standin.sets.lt.n.*less than or equal to 1000000"),
        (
            "standin: {sets: {lt: {infiltration_c_index: {high: 4.7}}}}\n",
            "infiltration_c_index must lie between 0 and 1",
        ),
        ("standin: {sets: {discovery: {hazard_ratios: {OS: {PMA: 1e30}}}}}\n", "OS.PMA.*less than or equal to 100"),
        ("standin: {effects: {recurrence_muscle: 1e11}}\n", "recurrence_muscle.*less than or equal to 10"),
        ("standin: {anatomy: {density_gap_hu: 1e11}}\n", "density_gap_hu.*less than or equal to 10"),
        ("network: {hidden: [99999999999]}\n", "network.hidden.0.*less than or equal to 1000000"),
        ("base: nowhere\n", "nowhere"),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    if text.startswith("base"):
        with pytest.raises(ParameterError, match=message):
            (tmp_path / "mine.yaml").write_text(text)
            load_params("mine", tmp_path)
        return
    with pytest.raises(ParameterError, match=message):
        study(tmp_path, text)()


def test_every_index_has_a_range_of_cut_offs_and_a_study_may_widen_it(tmp_path):
    ranges = load_params("defaults").cut_off_ranges
    assert ranges.keys() == set(get_args(RangeOf))
    assert {column.removesuffix("_z") for column in get_args(IndexColumn)} == ranges.keys() - {"z", "bmi"}
    wide = "cut_off_ranges: {pmi: {high: 1000}}\ndefinitions: {PMI: {men: 636, unit: mm²/m²}}\n"
    assert study(tmp_path, wide)().definitions["PMI"].men == 636


def test_words_of_a_parameter_file_stay_words(tmp_path):
    codes = "os_event: {1: [Yes, ON], 0: [NO, off]}, sex: {F: [010, 12:30]}"
    clinical = study(tmp_path, f"clinical: {{codes: {{{codes}}}, missing: [1_0, 2020-13-45]}}\n")().clinical
    assert clinical.codes == {"os_event": {"1": ["Yes", "ON"], "0": ["NO", "off"]}, "sex": {"F": ["010", "12:30"]}}
    assert clinical.missing == ["1_0", "2020-13-45"]
    params = study(tmp_path, "cohort: {stratify_by_event: true}\nnetwork: {l2: 1e-4, strata: none}\nfeatures: null\n")()
    assert params.cohort.stratify_by_event and params.network.l2 == 1e-4 and not params.radiomics


def test_circle_of_bases(tmp_path):
    (tmp_path / "a.yaml").write_text("base: b\n")
    (tmp_path / "b.yaml").write_text("base: a\n")
    with pytest.raises(ParameterError, match="circle"):
        load_params("a", tmp_path)


def test_sections_are_rewritten_only_when_they_change(tmp_path):
    params = load_params("standin")
    write_sections(params, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert "workers.json" not in before
    definitions = dict(params.definitions)
    definitions["PMI"] = definitions["PMI"].model_copy(update={"men": 6.0})
    write_sections(params.model_copy(update={"definitions": definitions, "workers": 1}), tmp_path)
    changed = {p.name for p in tmp_path.iterdir() if p.stat().st_mtime_ns != before[p.name]}
    assert changed == {"definitions.json"}
    assert json.loads((tmp_path / "definitions.json").read_text())["PMI"]["men"] == 6.0


@pytest.mark.parametrize("name", ADJUSTMENT)
def test_what_adjusts_hazard_ratios_stands_apart_from_what_the_model_runs_by(tmp_path, name):
    params = load_params("standin")
    write_sections(params, tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    given = getattr(params.statistics, name)
    other = given[:-1] if isinstance(given, list) else given + 1
    write_sections(
        params.model_copy(update={"statistics": params.statistics.model_copy(update={name: other})}), tmp_path
    )
    assert {p.name for p in tmp_path.iterdir() if p.stat().st_mtime_ns != before[p.name]} == {"adjustment.json"}


def test_every_parameter_has_a_description():
    def walk(model, path):
        for name, field in model.model_fields.items():
            assert field.description, f"{path}{name} has no description"
            for part in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(part, type) and issubclass(part, BaseModel):
                    walk(part, f"{path}{name}.")

    walk(Params, "")
