"""Each rule stands once: a second cut-off by sex, Cox fit, C-index, set of folds, baseline hazard, ... fails.

A rule is known by the shape that every way of writing it has; where it may stand is listed with the reason.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from analysis_lib.core.parameters import COVARIATES, TUMOUR
from analysis_lib.standin.settings import FLAGS

ROOT = Path(__file__).resolve().parents[2]
ESTIMATORS = ("lifelines", "sksurv", "sklearn", "statsmodels")


def _names(node: ast.AST) -> set[str]:
    """Names and attributes anywhere below."""
    return {
        n.attr if isinstance(n, ast.Attribute) else n.id
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute | ast.Name)
    }


def _strings(node: ast.AST) -> set[str]:
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def _imported(node: ast.AST) -> set[str]:
    """Names that a function or module takes from the packages of estimators."""
    found = set()
    for n in ast.walk(node):
        if isinstance(n, ast.ImportFrom) and (n.module or "").split(".")[0] in ESTIMATORS:
            found |= {alias.name for alias in n.names}
    return found


def _cut_off_by_sex(scope: ast.AST) -> bool:
    """Values of men and women, chosen by a patient's sex; 0 and 1 are its code as a covariate."""
    for node in ast.walk(scope):
        if isinstance(node, ast.Dict):
            keys, values = ({getattr(part, "value", None) for part in parts} for parts in (node.keys, node.values))
            if {"M", "F"} <= keys and values - {0, 1}:
                return True
        if isinstance(node, ast.Call | ast.IfExp) and {"men", "women"} <= _names(node) and _strings(node) & {"M", "F"}:
            return True
    return False


def _cox_fit(scope: ast.AST) -> bool:
    """A package's Cox model, or Newton's method on a likelihood."""
    newton = "gradient" in _names(scope) and _names(scope) & {"hessian", "information"}
    return bool(newton or _imported(scope) & {"CoxPHFitter", "CoxPHSurvivalAnalysis", "PHReg", "CoxTimeVaryingFitter"})


def _c_index(scope: ast.AST) -> bool:
    """Pairs of patients of whom a tie counts one half, or a package's C-index."""
    if any("concordan" in name for name in _imported(scope) | _names(scope)):
        return True
    for node in ast.walk(scope):
        parts = (
            node.args if isinstance(node, ast.Call) else [node.left, node.right] if isinstance(node, ast.BinOp) else []
        )
        half = any(isinstance(p, ast.Constant) and p.value == 0.5 for p in parts)
        if half and any(isinstance(p, ast.Compare) for p in parts):
            return True
    return False


def _folds(scope: ast.AST) -> bool:
    """Patients dealt out to folds in random order."""
    if any(name.endswith(("KFold", "train_test_split", "ShuffleSplit")) for name in _imported(scope)):
        return True
    dealt = any(isinstance(n, ast.BinOp) and isinstance(n.op, ast.Mod) and _names(n.right) for n in ast.walk(scope))
    return dealt and bool(_names(scope) & {"permutation", "shuffle", "permuted"})


def _breslow(scope: ast.AST) -> bool:
    """Exponentials of log-risks, summed over who is still at risk."""
    backwards = any(
        isinstance(n, ast.Slice) and n.lower is n.upper is None and n.step is not None and ast.unparse(n.step) == "-1"
        for n in ast.walk(scope)
    )
    return backwards and {"cumsum", "exp"} <= _names(scope)


def _feature_name(scope: ast.AST) -> bool:
    """A name taken apart at its underscores."""
    return any(
        isinstance(n, ast.Call)
        and isinstance(n.func, ast.Attribute)
        and n.func.attr in {"split", "rsplit", "partition", "rpartition"}
        and any(isinstance(a, ast.Constant) and a.value == "_" for a in n.args)
        for n in ast.walk(scope)
    )


def _covariates(scope: ast.AST) -> bool:
    """A list of tumour variables."""
    return any(
        isinstance(n, ast.List | ast.Tuple | ast.Set)
        and len({e.value for e in n.elts if isinstance(e, ast.Constant)} & set(TUMOUR)) > 1
        for n in ast.walk(scope)
    )


# By rule: how it is known, where it stands, and second ones as one would write them.
RULES = {
    "cut-off by sex": (
        _cut_off_by_sex,
        {"common/sarcopenia.py: _by_sex"},
        [
            "def f(t, d):\n    return t['smi'] < t['sex'].map({'M': d.men, 'F': d.women})",
            "def f(t, d):\n    return np.where(t['sex'] == 'M', d.men, d.women)",
            "def f(p, d):\n    return p.smi < (d.men if p.sex == 'M' else d.women)",
        ],
    ),
    "Cox fit": (
        _cox_fit,
        {"survival/cox.py: cox_fit"},
        [
            "from lifelines import CoxPHFitter",
            "def f():\n    from sksurv.linear_model import CoxPHSurvivalAnalysis",
            "def f(b):\n    loglik, gradient, hessian = g(b)\n    return b - solve(hessian, gradient)",
        ],
    ),
    "C-index": (
        _c_index,
        {"survival/resampling_kernels.py: c_index_kernel"},
        [
            "from sksurv.metrics import concordance_index_censored",
            "def f(a, b):\n    return np.mean((a > b) + 0.5 * (a == b))",
            "def f(gap):\n    return np.where(np.abs(gap) < 1e-8, 0.5, gap > 0)",
        ],
    ),
    "stratified folds": (
        _folds,
        {"survival/folds.py: stratified_folds"},
        [
            "from sklearn.model_selection import StratifiedKFold",
            "def f(rng, n, k):\n    return rng.permutation(np.arange(n) % k)",
            "def f(rng, n, k):\n    order = np.arange(n)\n    rng.shuffle(order)\n    return order % k",
        ],
    ),
    "Breslow": (
        _breslow,
        {"survival/cox.py: breslow_hazard"},
        [
            "def f(h, d):\n    return np.cumsum(d / np.cumsum(np.exp(h)[::-1])[::-1])",
            "def f(h, d):\n    e = np.exp(h)\n    return (d / e[::-1].cumsum()[::-1]).cumsum()",
            "def f(h, d):\n    w = np.exp(h - h.mean())[::-1]\n    return np.cumsum(d[::-1] / np.cumsum(w))",
        ],
    ),
    "feature's name": (
        _feature_name,
        {"radiomics/names.py: parse"},
        [
            "def f(name):\n    return name.split('_')[1]",
            "def f(names):\n    return names.str.rsplit('_', n=1)",
            "def f(name):\n    return name.partition('_')[0]",
        ],
    ),
    "list of covariates": (
        _covariates,
        {"core/parameters.py: ", "standin/settings.py: "},  # the study's, and the engine's, which knows no study
        [
            "NAMES = ['tumour_single', 'vascular_invasion']",
            "def f():\n    return ('age', 'tumour_diameter_over_5cm', 'tumour_single')",
            "def f(t):\n    return t[['sex', 'tumour_diameter_over_5cm', 'vascular_invasion']]",
        ],
    ),
}
ELSEWHERE = {
    "feature's name": {"review/reading.py: _title"},  # names of columns, in words
    "Cox fit": {"survival/cox.py: _likelihood"},  # what cox_fit maximises
    "C-index": {
        "survival/analytic.py: _c_index",  # each patient's part in the C-index, which the kernel's sums do not hold
        "coxnet/deepsurv.py: _c_indices",  # of the learning curve: within strata, of risks that are all but tied
    },
}


def scopes(tree: ast.Module) -> list[tuple[str, ast.AST]]:
    """Functions of a module by name, and what stands outside of them."""
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    inner = {
        id(child) for f in functions for child in ast.walk(f) if child is not f and isinstance(child, ast.FunctionDef)
    }
    functions = [f for f in functions if id(f) not in inner]
    within = {id(n) for f in functions for n in ast.walk(f)}
    outside = ast.Module([n for n in tree.body if id(n) not in within and not isinstance(n, ast.ClassDef)], [])
    return [(f.name, f) for f in functions] + [("", outside)]


@pytest.fixture(scope="module")
def code() -> list[tuple[str, ast.AST]]:
    """Every function of the library and every notebook's code, by 'room/module.py: name'."""
    found = []
    for path in sorted((ROOT / "analysis_lib").rglob("*.py")):
        place = path.relative_to(ROOT / "analysis_lib").as_posix()
        found += [(f"{place}: {name}", node) for name, node in scopes(ast.parse(path.read_text(encoding="utf-8")))]
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        lines = [line for c in cells if c["cell_type"] == "code" for line in "".join(c["source"]).splitlines()]
        found.append((path.name, ast.parse("\n".join(line for line in lines if not line.startswith(("%", "!"))))))
    return found


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_has_one_implementation(rule, code):
    known_by, place, _ = RULES[rule]
    assert {name for name, node in code if known_by(node)} == place | ELSEWHERE.get(rule, set())


@pytest.mark.parametrize("rule", RULES)
def test_a_second_one_is_seen(rule):
    known_by, _, seconds = RULES[rule]
    for second in seconds:
        assert any(known_by(node) for _, node in scopes(ast.parse(second))), second


def test_study_and_engine_name_the_same_tumour_variables():
    assert TUMOUR == FLAGS and set(TUMOUR) < set(COVARIATES)
