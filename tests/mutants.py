"""Small changes of the formulae in analysis_lib/survival, each of which a fast test of tests/survival must notice.

``make mutants``: 200 changes drawn by seed (another sign, tie rule, <= for <, one more, swapped arguments), each put
into the running functions of a forked process, which runs the tests that call the changed function, the quickest first.
Those of compiled kernels run uncompiled. Writes build/mutants.csv, and the share into docs/statistics.md; fails below
95%. A change without effect on any result is no fault: ``EQUIVALENT`` names it with the reason, and does not count.
"""

from __future__ import annotations

import argparse
import ast
import csv
import importlib
import inspect
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ROOM = ROOT / "analysis_lib" / "survival"
PAGE, BEGIN, END = ROOT / "docs" / "statistics.md", "<!-- mutants -->", "<!-- end of mutants -->"
NOTICED = 0.95
LONGEST = 60  # seconds of this process for the tests of one change; what takes longer runs in circles, and is noticed
UNCOMPILED = 10  # for one test of what is compiled, without any change; what takes longer is left out
OTHER = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
NAMES = {"min": "max", "max": "min", "minimum": "maximum", "maximum": "minimum"}
SYMMETRIC = {*NAMES, "hypot", "isclose", "zip"}
# {change: why no result depends on it}
EQUIVALENT = {
    "cox.cox_fit: if new_value >= value - 1e-12 * abs(value) or length < 1e-08: -> "
    "if new_value > value - 1e-12 * abs(value) or length < 1e-08:": "two rounded numbers are equal in no fit",
    "cox._likelihood: log_hazard, mean, second, *third = _moments(risk, beta, 3 if firth else 2) -> "
    "log_hazard, mean, second, *third = _moments(risk, beta, 4 if firth else 2)": "a moment more that nobody reads",
    "cox._solve: if not np.isfinite(matrix).all() or np.linalg.cond(matrix) > 10000000000000.0: -> "
    "if not np.isfinite(matrix).all() or np.linalg.cond(matrix) >= 10000000000000.0:": "no matrix is conditioned so",
    "imputation._draw: return known.mean() + scale * (wanted @ beta + sigma * rng.standard_normal(len(wanted))) -> "
    "return known.mean() + scale * (wanted @ beta - sigma * rng.standard_normal(len(wanted)))": "noise has either sign",
    "resampling.percentile_interval: flat = values.reshape(len(values), -1) -> "
    "flat = values.reshape(len(values), -2)": "NumPy takes any negative length for the unknown one",
    "resampling.monte_carlo_error: reach = np.sqrt(q * (1 - q) / size) if size else 1.0 -> "
    "reach = np.sqrt(q * (1 - q) / size) if size else 2.0": "both are beyond every share",
    "calibration_tests.d_calibration: spread[zero, 0] = 1 -> spread[zero, 0] = 2": "each is divided by its sum",
    "combat.Combat.fit: center, spread = (np.where(varies, center, 0.0), np.where(varies, spread, 1.0)) -> "
    "center, spread = (np.where(varies, center, 1.0), np.where(varies, spread, 1.0))": "it is added again",
    "cox.cox_fit: if new_value >= value - 1e-12 * abs(value) or length < 1e-08: -> "
    "if new_value >= value - 1e-12 * abs(value) or length <= 1e-08:": "no power of two is 1e-8",
    "cox.firth_binary: while fallen(estimate + side * far) < 0: -> "
    "while fallen(estimate + side * far) < 1:": "only where the search for the end starts",
    "cox._prepare: number = np.cumsum(np.diff(tie[rows], prepend=-1) > 0) - 1 -> "
    "number = np.cumsum(np.diff(tie[rows], prepend=-1) > 0) + 1": "ties may be numbered from anything",
    "evaluation.restricted_mean: curve = kaplan_meier(time, dead, 0.95) -> "
    "curve = kaplan_meier(time, dead, 1.95)": "nobody reads its interval",
    "imputation.nelson_aalen: begun = np.full(len(time), -1.0) if entry is None else np.asarray(entry, dtype=float) -> "
    "begun = np.full(len(time), -2.0) if entry is None else np.asarray(entry, dtype=float)": "both are before month 0",
    "separation.principal_components: varies = spread > 1e-10 * np.maximum(1e-300, np.abs(train).max(axis=0)) -> "
    "varies = spread >= 1e-10 * np.maximum(1e-300, np.abs(train).max(axis=0))": "equal to the last bit in no feature",
    "separation.separation: one = np.ones((1, len(x)), dtype=np.uint16) -> "
    "one = np.ones((2, len(x)), dtype=np.uint16)": "a replicate more that nobody reads",
    "agreement.icc_agreement: if error <= negligible and across <= negligible: -> "
    "if error <= negligible and across < negligible:": "equal if all values are zero, answered before",
    "comparison.brier_intervals: if len(months) > 1: -> if len(months) >= 1:": "a column more that no row reads",
    "cox.proportional_hazards_test: curve, step = (1.0, np.empty(len(order))) -> "
    "curve, step = (2.0, np.empty(len(order)))": "the test knows no unit of time",
    "cox_weighted._risk_sets: entry = np.zeros(len(time)) - 1 if entry is None else np.asarray(entry, float) -> "
    "entry = np.zeros(len(time)) - 2 if entry is None else np.asarray(entry, float)": "both are before month 0",
    "survival.uno_c_index: ones = np.ones((1, np.size(np.asarray(time))), dtype=np.uint16) -> "
    "ones = np.ones((2, np.size(np.asarray(time))), dtype=np.uint16)": "a replicate more that nobody reads",
    "analytic._c_index: right = later * np.where(np.abs(gap) <= TIED_TOLERANCE, 0.5, gap > 0) -> "
    "right = later * np.where(np.abs(gap) <= TIED_TOLERANCE, 0.5, gap >= 0)": "no gap is within the tolerance",
    "comparison.calibration_interval: smooth = np.append(found['ici'], found['curve']) + "
    "(NAN if np.isnan(alive) else 0.0) -> smooth = np.append(found['ici'], found['curve']) - "
    "(NAN if np.isnan(alive) else 0.0)": "nothing is added, or what is no number",
    "cox.cox_fit: if np.abs(beta).max() > 25: -> if np.abs(beta).max() > 26:": "no maximum lies between",
    "cox.proportional_hazards_test: step[here] = 1 - curve -> step[here] = 1 + curve": "the test knows no sign of time",
    "cox._solve: ill = singular[-1] == 0 or singular[0] / singular[-1] > 10000000000000.0 -> "
    "ill = singular[-2] == 0 or singular[0] / singular[-1] > 10000000000000.0": "a quotient by zero is larger, too",
    "cox_weighted.cox_weighted: for _ in range(60): -> for _ in range(61):": "no fit takes as many",
    "cox_weighted.gray_test: score += first[1] - events * expected[1] / expected.sum() -> "
    "score -= first[1] - events * expected[1] / expected.sum()": "it is squared",
    "cox_weighted.gray_test: for k in np.flatnonzero(here & (second > 0) & (left > 0)): -> "
    "for k in np.flatnonzero((here | (second > 0)) & (left > 0)):": "of no event there is no jump",
    "survival.life_table: return (months, at_risk, np.where(at_risk - deaths > 1e-12 * at_risk, deaths, at_risk), "
    "censored) -> return (months, at_risk, np.where(at_risk - deaths >= 1e-12 * at_risk, deaths, at_risk), "
    "censored)": "equal to the last bit in no table",
    "survival.bootstrap_c_index: estimate = measure(np.ones((1, n), dtype=np.uint16))[0] -> "
    "estimate = measure(np.ones((2, n), dtype=np.uint16))[0]": "a replicate more that nobody reads",
    "survival._harrell: return resampling.c_index_replicates(time, event, matrix, replicates, seed, counts=counts) -> "
    "return resampling.c_index_replicates(time, event, matrix, seed, replicates, counts=counts)": "neither is read "
    "where counts are given",
    "agreement.icc_agreement: if error <= negligible and across <= negligible: -> "
    "if error < negligible and across <= negligible:": "equal if all values are zero, answered before",
    "cox.firth_binary: for side in (-1, 1): -> for side in (-1, 2):": "only where the search for the end starts",
    "cox._totals: width = 0 -> width = 1": "a column more that nobody reads",
    "cox._totals: tied = np.zeros((tie[-1] + 1 if deaths else 0, width)) -> "
    "tied = np.zeros((tie[-1] + 2 if deaths else 0, width))": "a row more that nobody reads",
    "cox._totals: hazard, means = (np.empty(deaths), np.empty((deaths, width - 1))) -> "
    "hazard, means = (np.empty(deaths), np.empty((deaths, width + 1)))": "two columns more that nobody reads",
    "survival._falls_to_half: reached = np.flatnonzero(curve <= 0.5 + tolerance) -> "
    "reached = np.flatnonzero(curve < 0.5 + tolerance)": "no curve is there to the last bit",
    "survival.cox_adjusted: if dead.any() and len(used.columns): -> if dead.any() or len(used.columns):": "it says "
    "the same of no event, and nothing of no covariate",
    "survival.c_index: return float(resampling.c_index_replicates(time, event, risk, 1, 0, counts=ones)[0, 0]) -> "
    "return float(resampling.c_index_replicates(time, event, risk, 0, 1, counts=ones)[0, 0])": "neither is read where "
    "counts are given",
    "survival.auc_curve: ones = np.ones((1, len(matrix)), dtype=np.uint16) -> "
    "ones = np.ones((2, len(matrix)), dtype=np.uint16)": "a replicate more that nobody reads",
    "survival.bootstrap_c_index_difference: estimate, gap = (gaps(np.ones((1, n), dtype=np.uint16))[0], gaps(None)) -> "
    "estimate, gap = (gaps(np.ones((2, n), dtype=np.uint16))[0], gaps(None))": "a replicate more that nobody reads",
    "survival.auc_curve: estimate = resampling.auc_replicates(time, event, matrix, months, 1, seed, train=train, "
    "counts=ones)[0] -> estimate = resampling.auc_replicates(time, event, matrix, months, seed, 1, train=train, "
    "counts=ones)[0]": "neither is read where counts are given",
}


def changes(node: ast.AST) -> Iterator[Callable[[], object]]:
    """What can be changed in a node, as functions that change it."""
    if isinstance(node, ast.Compare) and type(node.ops[0]) in OTHER:
        yield lambda: node.ops.__setitem__(0, OTHER[type(node.ops[0])]())
    elif isinstance(node, ast.BinOp | ast.AugAssign | ast.BoolOp) and type(node.op) in OTHER:
        yield lambda: setattr(node, "op", OTHER[type(node.op)]())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield lambda: setattr(node, "op", ast.UAdd())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        yield lambda: setattr(node, "operand", ast.UnaryOp(type(node.op)(), node.operand))
    elif isinstance(node, ast.Constant) and type(node.value) in (int, float):
        yield lambda: setattr(node, "value", node.value + 1)
    elif isinstance(node, ast.keyword) and node.arg == "side":
        yield lambda: setattr(node.value, "value", "left" if node.value.value == "right" else "right")
    elif isinstance(node, ast.Call):
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if name in NAMES:
            yield lambda: setattr(node.func, "attr" if isinstance(node.func, ast.Attribute) else "id", NAMES[name])
        last = node.args[-2:]
        same = len({ast.dump(argument) for argument in last}) < 2
        if not same and name not in SYMMETRIC and not isinstance(last[1], ast.Starred):
            yield lambda: node.args.__setitem__(slice(-2, None), node.args[:-3:-1])


def inside(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes that compute: no messages, annotations, axes, docstrings."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "args") and isinstance(
            node, ast.FunctionDef | ast.AnnAssign
        ):
            continue
        for child in value if isinstance(value, list) else [value]:
            if not isinstance(child, ast.AST) or isinstance(child, ast.Raise | ast.JoinedStr | ast.ImportFrom):
                continue
            if isinstance(child, ast.keyword) and child.arg in ("axis", "dtype", "keepdims"):
                continue
            yield child
            yield from inside(child)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{f.name}", f) for f in node.body if isinstance(f, ast.FunctionDef))


def compiled(module: str, name: str) -> bool:
    """Whether a function is compiled, so that its changes run where nothing is (``NUMBA_DISABLE_JIT``)."""
    tree = ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8"))
    found = next(function for other, function in functions(tree) if other == name)
    return any("njit" in ast.unparse(decorator) for decorator in found.decorator_list)


def mutated(module: str, wanted: int | None = None) -> tuple[int, str, str, ast.Module]:
    """(number of changes in a module, name of the function and description of the wanted one, its changed tree)."""
    tree = ast.parse((ROOM / f"{module}.py").read_text(encoding="utf-8"))
    number, where, what = 0, "", ""
    for name, function in functions(tree):
        statements = [node for node in inside(function) if isinstance(node, ast.stmt)]
        for node in list(inside(function)):
            for change in changes(node):
                if number == wanted:
                    line = [s for s in statements if any(n is node for n in ast.walk(s))][-1]
                    before = ast.unparse(line).split("\n")[0]
                    change()
                    after = ast.unparse(line).split("\n")[0]
                    where, what = name, f"{module}.{name}: {before} -> {after}"
                number += 1
        if wanted is not None and number > wanted:
            break
    return number, where, what, ast.fix_missing_locations(tree)


def drawn(count: int, seed: int) -> list[tuple[str, int]]:
    """``count`` changes of all modules, each as (module, number)."""
    every = [(path.stem, k) for path in sorted(ROOM.glob("[a-z]*.py")) for k in range(mutated(path.stem)[0])]
    return sorted(random.Random(seed).sample(every, count))


def put_in(module: str, name: str, tree: ast.Module) -> None:
    """Give the running function the changed code."""
    live = importlib.import_module(f"analysis_lib.survival.{module}")
    code = compile(tree, str(ROOM / f"{module}.py"), "exec")
    for part in name.split("."):
        live = getattr(live, part) if inspect.ismodule(live) or inspect.isclass(live) else live
        code = next(c for c in code.co_consts if inspect.iscode(c) and c.co_name == part)
    live = live.fget if isinstance(live, property) else inspect.unwrap(live)
    (live.__func__ if inspect.ismethod(live) else live).__code__ = code


class Mutants:
    """In place of pytest's loop over the tests: each change in a process of its own."""

    def __init__(self, wanted: list[tuple[str, int]]) -> None:
        self.wanted, self.rows = wanted, []

    def pytest_configure(self) -> None:
        """The same examples each time, none of them made smaller."""
        from hypothesis import Phase, settings

        phases = [Phase.explicit, Phase.generate]
        settings.register_profile("mutants", database=None, derandomize=True, deadline=None, phases=phases)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session) -> bool:
        calls, seconds = self._callers(session.items)
        if unchanged := self._noticed(sorted(calls, key=seconds.get)[:10], "", "", None):
            raise RuntimeError(f"{unchanged} fails in a forked process without any change")
        for module, number in self.wanted:
            _, name, what, tree = mutated(module, number)
            items = sorted((i for i in session.items if (module, name) in calls.get(i, ())), key=seconds.get)
            noticed = self._noticed(items, module, name, tree)
            self.rows.append((module, number, noticed, what))
            print(f"{noticed or 'NOT NOTICED'}: {what}", flush=True)
        return True

    @staticmethod
    def _callers(items) -> tuple[dict, dict]:
        """{test: functions of the room that it calls} and {test: seconds}, of the tests that pass in time."""
        from _pytest.runner import runtestprotocol

        calls, seconds = {}, {}
        names = {f"{path}": path.stem for path in ROOM.glob("*.py")}

        def late(*_):
            raise TimeoutError

        signal.signal(signal.SIGPROF, late)
        for k, item in enumerate(items):
            found = set()

            def profile(frame, event, _, found=found):
                if event == "call" and frame.f_code.co_filename in names:
                    found.add((names[frame.f_code.co_filename], frame.f_code.co_qualname.split(".<locals>")[0]))

            started = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, UNCOMPILED if "NUMBA_DISABLE_JIT" in os.environ else LONGEST)
            sys.setprofile(profile)
            following = items[k + 1] if k + 1 < len(items) else None
            reports = runtestprotocol(item, nextitem=following, log=False)
            sys.setprofile(None)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if all(report.passed for report in reports):
                calls[item], seconds[item] = found, time.process_time() - started
            else:
                print(f"left out: {item.nodeid}", flush=True)
        return calls, seconds

    @staticmethod
    def _noticed(items, module: str, name: str, tree: ast.Module | None) -> str:
        """The test that fails, 'time' where they never end, or nothing."""
        from _pytest.runner import runtestprotocol

        read, write = os.pipe()
        if not (child := os.fork()):
            signal.signal(signal.SIGPROF, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_PROF, LONGEST)
            try:
                if tree:
                    put_in(module, name, tree)
            except BaseException as error:  # or the child would go on as a second run
                os.write(write, f"!{module}.{name} cannot be changed: {error!r}".encode())
                os._exit(0)
            for item in items:
                if any(report.failed for report in runtestprotocol(item, nextitem=None, log=False)):
                    os.write(write, item.name.encode())
                    break
            os._exit(0)
        os.close(write)
        _, status = os.waitpid(child, 0)
        with os.fdopen(read, "rb") as pipe:
            found = pipe.read().decode()
        if found.startswith("!"):
            raise RuntimeError(found[1:])
        return found or ("time or crash" if status else "")


def run(wanted: list[tuple[str, int]], tests: list[str]) -> list[tuple]:
    """The rows of these changes, judged by these files of tests."""
    import pytest

    sys.path.insert(0, str(ROOT))
    plugin = Mutants(wanted)
    wraps = "ignore:overflow encountered:RuntimeWarning"  # as compiled whole numbers do, without a word
    pytest.main(["-q", "-m", "not slow", "-p", "no:cacheprovider", "-W", wraps, *tests], plugins=[plugin])
    return plugin.rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=19)
    parser.add_argument("--only", choices=("compiled", "others"))
    parser.add_argument("--modules", nargs="*", help="these alone")
    parser.add_argument("--tests", nargs="*", default=[str(ROOT / "tests" / "survival")])
    given = parser.parse_args()
    out = ROOT / "build" / f"mutants{'-' + given.only if given.only else ''}.csv"
    if not given.only:
        for part in ("others", "compiled"):
            again = [sys.executable, __file__, "--count", str(given.count), "--seed", str(given.seed), "--only", part]
            environment = os.environ | ({"NUMBA_DISABLE_JIT": "1"} if part == "compiled" else {})
            subprocess.run(again, env=environment, check=True)
        rows = [
            row
            for part in ("others", "compiled")
            for row in csv.reader((ROOT / "build" / f"mutants-{part}.csv").read_text(encoding="utf-8").splitlines())
        ]
    else:
        every = [(c, compiled(c[0], mutated(*c)[1])) for c in drawn(given.count, given.seed)]
        wanted = [c for c, is_compiled in every if is_compiled == (given.only == "compiled")]
        rows = run([c for c in wanted if not given.modules or c[0] in given.modules], given.tests)
    out.parent.mkdir(exist_ok=True)
    with out.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)
    if given.only:
        return
    told(rows, given.seed)


def told(rows: list, seed: int) -> None:
    """The result printed and in docs/statistics.md; fails below ``NOTICED``."""
    counted = [row for row in rows if row[3] not in EQUIVALENT]
    noticed = [row for row in counted if row[2]]
    for row in counted:
        if not row[2]:
            print(f"not noticed: {row[3]}")
    for row in rows:
        if row[2] and row[3] in EQUIVALENT:
            raise SystemExit(f"not equivalent, since {row[2]} notices it: {row[3]}")
    share = f"{100 * len(noticed) / len(counted):.1f}%"
    line = f"Of {len(rows)} changes drawn by seed {seed}, {len(rows) - len(counted)} have no effect on any result "
    line += f"(each with its reason in the file);\n{len(noticed)} of the other {len(counted)} were noticed, {share}."
    print(line)
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}\n{line}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    if len(noticed) < NOTICED * len(counted):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
