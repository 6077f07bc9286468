"""An ensemble of Cox networks over seeds and folds, its baseline hazard and its survival curves.

One network on 70 deaths is a lottery; the mean of the standardised log-risks of ten is not, and their spread
is reported. Works on any table of numbers, from 5 columns to 10,000.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.optimize import minimize_scalar
from threadpoolctl import threadpool_limits

from analysis_lib.common.files import read_csv
from analysis_lib.common.pool import map_patients
from analysis_lib.coxnet.deepsurv import CoxNetwork, train_network
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.joint import train_joint
from analysis_lib.coxnet.partial_likelihood import check_outcome, negative_log_partial_likelihood, risk_sets
from analysis_lib.coxnet.products import alike, product
from analysis_lib.coxnet.scaling import canonical_order
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.coxnet.tf_setup import keras, load_keras, save_keras
from analysis_lib.survival.cox import breslow_hazard
from analysis_lib.survival.folds import stratified_folds

LARGE = 20_000  # patients, from which on the networks are trained on all cores: minutes then, so progress is shown too


@dataclass(frozen=True)
class CoxEnsemble:
    """A fitted ensemble of k networks on d inputs.

    mean, sd : (d,) of the training inputs. axes : (d, m) principal axes of the standardised training inputs, weighed
    as in ``principal_axes``, or none. risk_mean, risk_sd : (k,) of each network's training log-risk.
    slope : log hazard ratio per unit of risk, from held-out risks, so that survival curves are not
    overconfident. baseline : times and Breslow's cumulative hazard at risk 0, columns months,
    cumulative_hazard. history : see ``train_network``, with a column network ('1' ... and 'mean').
    held_out_risk : (n,) training patients' mean risk by the networks that held them out, in the order given
    to ``fit``; NaN for a patient never held out. held_out : (k, n) whom each network held out; not saved.
    """

    networks: tuple[CoxNetwork, ...]
    mean: np.ndarray
    sd: np.ndarray
    risk_mean: np.ndarray
    risk_sd: np.ndarray
    axes: np.ndarray | None = None
    slope: float = 0.0
    baseline: pd.DataFrame = field(default_factory=pd.DataFrame)
    history: pd.DataFrame = field(default_factory=pd.DataFrame)
    held_out_risk: np.ndarray = field(default_factory=lambda: np.empty(0))
    held_out: np.ndarray = field(default_factory=lambda: np.empty((0, 0), bool))

    @classmethod
    def fit(
        cls,
        x: ArrayLike,
        time: ArrayLike,
        event: ArrayLike,
        params: NetworkParams,
        seed: int,
        strata: ArrayLike | None = None,
        joint: AutoEncoderParams | None = None,
    ) -> CoxEnsemble:
        """Train on x (n, d) finite numbers, times (n,) and events (n,) 0/1; strata (n,) by centre, say.
        With ``joint`` each network holds an AutoEncoder of these parameters, trained with it.

        The order of the patients does not matter, to the last bit. Raises ValueError for impossible values,
        NoEventsError without events, TrainingError if training diverges.
        """
        x = np.asarray(x, dtype=np.float32)
        time, event = check_outcome(time, event)
        if x.ndim != 2 or len(x) != len(time) or not np.isfinite(x).all():
            raise ValueError(f"inputs {x.shape} must be finite numbers, one row for each of {len(time)} patients")
        strata = np.zeros(len(time), int) if strata is None else np.unique(strata, return_inverse=True)[1]
        canonical = canonical_order(x, strata, time, event)
        x, strata = np.asarray(x[canonical]), np.asarray(strata[canonical])
        time, event = np.asarray(time[canonical]), np.asarray(event[canonical])
        sets = risk_sets(time, event, strata, params.ties)
        mean, sd = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
        sd[~(sd > 1e-6 * np.maximum(np.abs(mean), 1e-30))] = np.inf  # a constant input tells nothing
        z = ((x - mean) / sd).astype(np.float32)
        axes = principal_axes(z) if params.rotate and joint is None and z.shape[1] > 10 else None
        z = z if axes is None else _turned(z, axes)

        networks, histories, risk_mean, risk_sd = [], [], [], []
        held_sum, held_count = np.zeros(len(time)), np.zeros(len(time))
        folds = [_held_out(event, params.validation_fraction, k, seed) for k in range(params.ensemble)]
        sorted_z, learning = z[sets.rows], [~held_out[sets.rows] for held_out in folds]
        seeds = [derived_seed(seed, 1, k) for k in range(params.ensemble)]
        if joint is not None:
            trained = train_joint(sorted_z, sets, learning, joint, params, seeds)
        else:
            trained = map_patients(
                train_network,
                [(sorted_z, sets, part, params, own) for part, own in zip(learning, seeds, strict=True)],
                workers=0 if len(z) >= LARGE else 1,
                label="training networks",
                quiet=len(z) < LARGE,
                unit="network",
            )
        for k, (held_out, (network, history)) in enumerate(zip(folds, trained, strict=True)):
            log_risk = network.log_risk(z)
            networks.append(network)
            histories.append(history.assign(network=str(k + 1)))
            risk_mean.append(log_risk.mean())
            # of a network that learnt nothing, and where each counts by what it learnt: as it is
            risk_sd.append(log_risk.std() if log_risk.std() > 1e-9 and not params.linear_partner else 1.0)
            held_sum += held_out * (log_risk - risk_mean[-1]) / risk_sd[-1]
            held_count += held_out
        with np.errstate(invalid="ignore"):
            held = held_sum / held_count
        fitted = cls(tuple(networks), mean, sd, np.array(risk_mean), np.array(risk_sd), axes)
        basis = held if held_count.any() else fitted.risk(x)
        slope, baseline = slope_and_baseline(basis, time, event, strata, params.ties)
        place = np.argsort(canonical)
        return replace(
            fitted,
            slope=slope,
            baseline=baseline,
            history=_with_mean(histories),
            held_out_risk=held[place],
            held_out=np.array(folds)[:, place],
        )

    def risks(self, x: ArrayLike) -> np.ndarray:
        """Standardised log-risk by each network, (n, k); their SD over k is the spread over seeds."""
        z = ((np.asarray(x, dtype=np.float32) - self.mean) / self.sd).astype(np.float32)
        if len(z) == 0:
            return np.empty((0, len(self.networks)))
        z = z if self.axes is None else _turned(z, self.axes)
        each = np.stack([network.log_risk(z) for network in self.networks], axis=1)
        return (each - self.risk_mean) / self.risk_sd

    def risk(self, x: ArrayLike) -> np.ndarray:
        """Risk (n,) of inputs (n, d): mean over the networks; higher is worse; training mean 0."""
        return self.risks(x).mean(axis=1)

    def survival(self, risk: np.ndarray, months: ArrayLike) -> np.ndarray:
        """Probability (n, m) at a risk (n,) to live beyond each of m times, in the unit of the training times."""
        months = np.atleast_1d(np.asarray(months, dtype=np.float64))
        if np.any(~(months >= 0)):
            raise ValueError("times for survival must not be negative")
        at = np.searchsorted(self.baseline["months"], months, side="right")
        hazard = np.concatenate([[0.0], self.baseline["cumulative_hazard"]])[at]
        return np.exp(-np.exp(self.slope * risk)[:, None] * hazard)

    def save(self, folder: Path) -> None:
        """Write networks.keras, ensemble.json, ensemble.npz and network_history.csv into ``folder``."""
        d = len(self.networks[0].weights[0])
        inputs = keras.Input((d,), name="code")
        outputs = []
        for k, network in enumerate(self.networks):
            h = inputs
            for i, (kernel, act) in enumerate(zip(network.weights[:-1:2], network.activations, strict=True)):
                h = keras.layers.Dense(kernel.shape[1], act, name=f"network_{k}_{i}")(h)
            outputs.append(keras.layers.Dense(1, use_bias=False, name=f"network_{k}_out")(h))
        model = keras.Model(inputs, outputs, name="cox_networks")
        for k, network in enumerate(self.networks):
            for i, pair in enumerate(zip(network.weights[:-1:2], network.weights[1::2], strict=True)):
                model.get_layer(f"network_{k}_{i}").set_weights(list(pair))
            model.get_layer(f"network_{k}_out").set_weights([network.weights[-1]])
        save_keras(model, folder / "networks.keras")
        arrays = {} if self.axes is None else {"axes": self.axes}
        np.savez(
            folder / "ensemble.npz",
            allow_pickle=False,
            mean=self.mean,
            sd=self.sd,
            risk_mean=self.risk_mean,
            risk_sd=self.risk_sd,
            months=self.baseline["months"].to_numpy(),
            cumulative_hazard=self.baseline["cumulative_hazard"].to_numpy(),
            held_out_risk=self.held_out_risk,
            **arrays,
        )
        depth = len(self.networks[0].weights) // 2
        settings = {
            "networks": len(self.networks),
            "hidden_layers": depth,
            "activation": self.networks[0].activation,
            "slope": self.slope,
        }
        (folder / "ensemble.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
        self.history.to_csv(folder / "network_history.csv", index=False, lineterminator="\n")

    @classmethod
    def load(cls, folder: Path) -> CoxEnsemble:
        """Read what ``save`` wrote."""
        folder = Path(folder)
        settings = json.loads((folder / "ensemble.json").read_text(encoding="utf-8"))
        model = load_keras(folder / "networks.keras")
        networks = []
        for k in range(settings["networks"]):
            names = [f"network_{k}_{i}" for i in [*range(settings["hidden_layers"]), "out"]]
            weights = tuple(w for name in names for w in model.get_layer(name).get_weights())
            networks.append(CoxNetwork(weights, settings["activation"]))
        with np.load(folder / "ensemble.npz", allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        baseline = pd.DataFrame({name: arrays.pop(name) for name in ("months", "cumulative_hazard")})
        history = read_csv(folder / "network_history.csv", dtype={"network": str})
        return cls(
            tuple(networks), slope=settings["slope"], baseline=baseline, history=history, **arrays
        )  # fmt: skip


def principal_axes(z: np.ndarray) -> np.ndarray:
    """Axes (d, m) that turn standardised inputs (n, d) to their principal components, float32.

    The SD of a component is its share of the first one's variance. A step of Adam moves every weight by the same
    amount, so that a component counts by its SD after some steps; by its variance is how a ridge penalty or gradient
    descent stopped early would weigh it (Ali A et al. AISTATS 2019, PMLR 89:1370), which follows less noise. With fewer
    patients than inputs nothing is lost, for the training patients span no more than m <= n directions. On one
    thread, because the last bits of a decomposition depend on how many there are.
    """
    z = np.asarray(z, np.float64)
    with threadpool_limits(1):
        if z.shape[1] <= z.shape[0]:
            variance, axes = np.linalg.eigh(z.T @ z)
        else:
            variance, patients = np.linalg.eigh(z @ z.T)
            axes = z.T @ (patients / np.sqrt(np.maximum(variance, 1e-300)))
        keep = np.flatnonzero(variance > 1e-8 * variance[-1])[::-1]
        if len(keep) == 0:  # every input is constant
            return np.zeros((z.shape[1], 1), np.float32)
        axes = axes[:, keep]
    largest = np.abs(axes).argmax(axis=0)
    axes = axes * np.sign(axes[largest, np.arange(len(keep))])  # the sign of an eigenvector is arbitrary
    share = variance[keep] / variance[-1]
    return (axes * np.sqrt(share) / np.sqrt(variance[-1] / len(z))).astype(np.float32)


def _turned(z: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Inputs (n, d) turned to axes (d, m)."""
    return alike(lambda rows: product(rows, axes), z)


def slope_and_baseline(
    risk: np.ndarray, time: np.ndarray, event: np.ndarray, strata: np.ndarray, ties: str
) -> tuple[float, pd.DataFrame]:
    """Slope and baseline hazard of held-out risks (n,), NaN for who has none; see ``CoxEnsemble``."""
    known = np.isfinite(risk)
    slope = _slope(risk[known], time[known], event[known], strata[known], ties)
    return slope, _baseline(slope * risk[known], time[known], event[known])


def _baseline(log_risk: np.ndarray, time: np.ndarray, event: np.ndarray) -> pd.DataFrame:
    """Cumulative hazard at log-risk 0: columns months (of death, each once), cumulative_hazard."""
    shift = float(log_risk.max())
    months, hazard = breslow_hazard(time, event, log_risk, shift)
    table = pd.DataFrame({"months": months, "cumulative_hazard": hazard * np.exp(-shift)})
    return table.drop_duplicates("months", keep="last", ignore_index=True)


def _held_out(event: np.ndarray, fraction: float, k: int, seed: int) -> np.ndarray:
    """(n,) bool: the fold network ``k`` holds out, stratified by event; folds are drawn anew each round."""
    folds = min(max(2, round(1 / fraction)), int(event.sum()))
    if folds < 2:  # one event cannot be in both parts
        return np.zeros(len(event), bool)
    return folds_by_event(event, folds, np.random.default_rng(derived_seed(seed, 2, k // folds))) == k % folds


def folds_by_event(event: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """Number (n,) of each patient's fold, the events spread evenly over at most as many folds as events."""
    return stratified_folds(event, max(1, min(folds, int(np.sum(event)))), rng)


def _slope(risk, time, event, strata, ties) -> float:
    """Cox's coefficient of one covariate, not below 0: a risk that points the wrong way tells nothing."""
    if not event.any():
        return 0.0
    found = minimize_scalar(
        lambda b: negative_log_partial_likelihood(b * risk, time, event, ties, strata)[0],
        bounds=(0.0, 5.0),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(found.x) if found.x > 1e-4 else 0.0


def _with_mean(histories: list[pd.DataFrame]) -> pd.DataFrame:
    """All histories and their mean, in which a network that stopped keeps its last value."""
    each = pd.concat(histories, ignore_index=True)
    columns = [c for c in each.columns if c not in ("network", "step")]
    wide = each.pivot(index="step", columns="network", values=columns)
    evaluated = each.groupby("step")[columns].count() > 0
    filled = wide.ffill()
    mean = filled.T.groupby(level=0).mean().T[columns].where(evaluated)
    mean = mean.reset_index().assign(network="mean")
    return pd.concat([each, mean], ignore_index=True)[["network", "step", *columns]]
