"""The engines as another project would import them: few names, loaded when asked for, with an example that runs."""

import doctest
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis_lib.core.parameters import load_params
from analysis_lib.standin.patients import calibrated

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ["ct", "radiomics", "survival", "coxnet", "standin"]
HEAVY = {"tensorflow", "SimpleITK", "pydicom", "numba", "scipy", "sklearn", "pandas"}


@pytest.mark.parametrize("name", ENGINES)
def test_an_engine_offers_at_most_ten_documented_names(name):
    engine = import_module(f"analysis_lib.{name}")
    assert len(set(engine.__all__)) == len(engine.__all__) <= 10
    for offered in engine.__all__:
        value = getattr(engine, offered)
        assert not callable(value) or value.__doc__, offered
    with pytest.raises(AttributeError, match=f"'analysis_lib.{name}' has no attribute 'nothing'; it offers "):
        _ = engine.nothing


def test_importing_the_engines_and_their_settings_loads_nothing_heavy():
    code = "import sys\n" + "".join(f"import analysis_lib.{name}\n" for name in ENGINES)
    code += "import analysis_lib.core.parameters\nprint(*{name.split('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not HEAVY & set(loaded.split())


@pytest.mark.parametrize("name", ENGINES)
def test_the_example_of_an_engine_runs(name, patient, monkeypatch):
    monkeypatch.chdir(ROOT)
    engine = import_module(f"analysis_lib.{name}")
    names = {offered: getattr(engine, offered) for offered in engine.__all__}
    if name == "ct":
        names |= {"ct": patient[0], "mask": patient[1]}
    elif name == "coxnet":
        rng = np.random.default_rng(1)
        features = pd.DataFrame(rng.standard_normal((40, 3)), columns=list("abc"), index=[f"P{k}" for k in range(40)])
        names |= {"features": features, "months": rng.exponential(20, 40), "died": rng.random(40) < 0.6}
    elif name == "standin":
        params = load_params("smoke")
        names |= {"settings": params.standin, "definitions": calibrated(params.standin, params.definitions)}
    test = doctest.DocTestParser().get_doctest(engine.__doc__, names, name, None, None)
    assert test.examples
    lines = []
    failed = doctest.DocTestRunner().run(test, out=lines.append).failed
    assert not failed, "".join(lines)
