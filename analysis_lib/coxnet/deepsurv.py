"""The Cox proportional hazards network (DeepSurv), trained whole-graph, and its ensemble.

Katzman JL et al. BMC Med Res Methodol 2018;18:24, doi 10.1186/s12874-018-0482-1. One output, the log-risk,
without activation: higher is worse. All epochs with early stopping run in one TensorFlow loop on the full
batch; the weights are one flat vector, so that a step of the optimiser is one operation.

Early stopping watches the cross-validated partial likelihood (Verweij & van Houwelingen 1993,
doi 10.1002/sim.4780122407): the loss of all patients minus that of the training part. With a dozen deaths in
the validation part it is far less noisy than risk sets made of that part alone, and it has the scale of the
training loss. The networks of an ensemble take turns at which fold they hold out, so that every patient also
has a risk from networks that did not learn from him.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from analysis_lib.common.errors import StudyError
from analysis_lib.coxnet.partial_likelihood import (
    RiskSets,
    efron_fractions,
    loss_and_gradient,
)
from analysis_lib.coxnet.products import Inputs, alike, gradients, product, span
from analysis_lib.coxnet.settings import NetworkParams
from analysis_lib.coxnet.tf_setup import tf

MULTIPLE = 8  # of rows with a gradient: folds of nearly one size are compiled once
MAX_PAIRED = 2000  # patients whose pairs are counted for the C-index of the learning curve


class TrainingError(StudyError, RuntimeError):
    """Training went to infinity; the message says what to lower."""


@dataclass(frozen=True)
class CoxNetwork:
    """Weights of one trained network: kernels (in, out) and biases (out,) of each hidden layer, then the
    output kernel (width, 1) with no bias, which a partial likelihood cannot see. ``activation`` is that of every
    hidden layer, or one for each, joined by commas.
    """

    weights: tuple[np.ndarray, ...]
    activation: str

    @property
    def activations(self) -> list[str]:
        """Activation of each hidden layer."""
        names = self.activation.split(",")
        return names if len(names) > 1 else names * (len(self.weights) // 2)

    def log_risk(self, x: ArrayLike) -> np.ndarray:
        """Log-risk (n,) of standardised inputs (n, d), float64; higher is worse."""

        def forward(h: tf.Tensor) -> tf.Tensor:
            for act, kernel, bias in zip(self.activations, self.weights[:-1:2], self.weights[1::2], strict=True):
                h = _activation(act)[0](product(h, kernel) + bias)
            return product(h, self.weights[-1])

        return alike(forward, x)[:, 0].astype(np.float64)


def train_network(
    x: np.ndarray,
    sets: RiskSets,
    in_training: np.ndarray,
    params: NetworkParams,
    seed: int,
) -> tuple[CoxNetwork, pd.DataFrame]:
    """Train one network on standardised ``x`` (n, d), whose rows are sorted as ``sets`` (see ``risk_sets``).

    ``in_training`` (n,) bool: the other patients are for early stopping; all True trains for max_epochs.
    Returns the network with the best validation loss and its history: a row an epoch, columns step,
    train_loss, val_loss (per event), train_c_index, val_c_index (every ``c_index_every`` epochs, else NaN).
    Raises TrainingError when the loss is no longer finite.
    """
    n, d = x.shape
    rate, start = _rate(params, d), _initial_weights(d, params.hidden, params.activation, seed)
    axes = span(x) if params.l1 == 0 else None  # L1 is not the same in other axes
    if axes is not None:
        x, start[0] = x.astype(np.float64) @ axes, axes.T @ start[0]
        d = x.shape[1]
    in_training = np.asarray(in_training, bool)
    validate = not in_training.all()
    every = max(params.c_index_every, -(-params.max_epochs * n // 20_000_000))  # risks kept: at most 80 MB
    learning = _learning(in_training)
    train = _trainer(
        n,
        len(learning),
        d,
        tuple(params.hidden),
        params.activation,
        params.dropout > 0 and len(params.hidden) > 0,
        params.l1 > 0,
        params.l2 > 0,
        params.decay_rate < 1,
        params.optimizer,
        validate,
        sets.sizes,
        sets.tied,
        sets.ties == "efron",
        params.max_epochs,
        every,
    )
    event = sets.event.astype(bool)
    event_train = event & in_training
    frac = efron_fractions(event_train, sets.group) if sets.ties == "efron" else np.zeros(n)
    flat, steps, best_step, losses, risks = train(
        x=x.astype(np.float32),
        start=np.concatenate([w.ravel() for w in start]).astype(np.float32),
        view=np.stack([[event_train, in_training, frac], [event, np.ones(n), sets.frac]], axis=-1),
        places=np.stack([sets.group, sets.first, sets.last]),
        learning=learning,
        rates=np.array([rate, params.decay_rate, params.decay_steps, params.dropout], "f4"),
        penalties=np.array([params.l1, params.l2], np.float32),
        seed=seed % 2**31,
        patience=params.patience if validate else params.max_epochs + 1,
    )
    if not np.isfinite(flat).all() or not np.isfinite(losses).all():
        raise TrainingError(
            f"the loss of the Cox network was no longer finite at step {steps}; lower the learning rate "
            f"({params.learning_rate:g}, {params.optimizer}) or raise the L2 penalty ({params.l2:g})"
        )
    shapes = _shapes(d, params.hidden)
    parts = np.split(flat, np.cumsum([int(np.prod(s)) for s in shapes])[:-1])
    weights = [p.reshape(s) for p, s in zip(parts, shapes, strict=True)]
    if axes is not None:
        weights[0] = (axes @ weights[0]).astype(np.float32)
    network = CoxNetwork(tuple(weights), params.activation)
    return network, learning_curve(losses, risks, every, sets, in_training, best_step)


def _learning(in_training: np.ndarray) -> np.ndarray:
    """Rows of the training part, filled up to a multiple of MULTIPLE with others, whose gradient is zero."""
    rows = -(-int(in_training.sum()) // MULTIPLE) * MULTIPLE
    return np.sort(np.argsort(~in_training, kind="stable")[:rows]).astype(np.int32)


def _rate(params: NetworkParams, d: int) -> float:
    """Initial learning rate. Adam moves every weight by the same amount, so a step changes the log-risk the
    more, the more inputs there are; with the rate of ten inputs, 1343 are overfitted after three steps.
    """
    return params.learning_rate * min(1.0, (10 / d) ** 0.5)


def learning_curve(losses, risks, every, sets: RiskSets, in_training, best_step) -> pd.DataFrame:
    """History of one network (see ``train_network``) from its losses (steps, 2: training part, everybody), summed
    over events, and the log-risks (k, n) of every ``every``-th step.
    """
    event = sets.event.astype(bool)
    n_train, n_val = (event & in_training).sum(), (event & ~in_training).sum()
    history = pd.DataFrame({"step": np.arange(1, len(losses) + 1), "train_loss": losses[:, 0] / n_train})
    history["val_loss"] = (losses[:, 1] - losses[:, 0]) / n_val if n_val else np.nan
    for name, part in (("train", in_training), ("val", ~in_training)):
        values = np.full(len(losses), np.nan)
        values[::every] = _c_indices(risks, sets, part)
        history[f"{name}_c_index"] = values
    history.attrs["best_step"] = int(best_step)
    return history


def _c_indices(risks: np.ndarray, sets: RiskSets, part: np.ndarray) -> np.ndarray:
    """Harrell's C within strata of each row of ``risks`` (k, n) over the patients of ``part``; NaN without
    a usable pair. Of more than MAX_PAIRED patients every m-th counts: this is a curve, not a result, for which
    ``survival.c_index`` is; that knows no strata, and takes risks nearer than its tolerance, as untrained ones are, for
    ties.
    """
    i = np.flatnonzero(part)
    i = i[:: max(1, -(-len(i) // MAX_PAIRED))]
    stratum = np.repeat(np.arange(len(sets.sizes)), sets.sizes)[i]
    event, group = sets.event[i].astype(bool), sets.group[i]
    # group numbers rise as time falls; a death comes before a censored patient of the same time
    earlier = event[:, None] & (stratum[:, None] == stratum) & (group[:, None] >= group)
    earlier &= (group[:, None] > group) | ~event
    a, b = np.nonzero(earlier)
    if len(a) == 0:
        return np.full(len(risks), np.nan)
    risks = risks[:, i]
    return np.array([np.mean((r[a] > r[b]) + 0.5 * (r[a] == r[b])) for r in risks])


def _shapes(d: int, hidden) -> list[tuple[int, ...]]:
    widths = [d, *hidden]
    pairs = zip(widths[:-1], widths[1:], strict=True)
    return [shape for a, b in pairs for shape in ((a, b), (b,))] + [(widths[-1], 1)]


def _initial_weights(d: int, hidden, activation: str, seed: int) -> list[np.ndarray]:
    """Glorot's uniform initialisation (He's for relu, LeCun's for selu and elu), biases zero.

    With more than 10 inputs the output starts the smaller, the more there are. Otherwise a random function of all
    inputs, which early stopping after a few steps leaves in place, would be part of every risk.
    """
    rng = np.random.default_rng(seed)
    weights = []
    for shape in _shapes(d, hidden):
        if len(shape) == 1:
            weights.append(np.zeros(shape, np.float32))
            continue
        variance = {"relu": 2 / shape[0], "tanh": 2 / sum(shape)}.get(activation, 1 / shape[0])
        limit = np.sqrt(3 * variance)
        weights.append(rng.uniform(-limit, limit, shape).astype(np.float32))
    weights[-1] *= np.float32(min(1.0, 10 / d))
    return weights


def _activation(name: str):
    """The function, and what makes of its result y and the gradient by y that by its argument."""
    raw = tf.raw_ops
    return {
        "relu": (tf.nn.relu, lambda y, slope: raw.ReluGrad(gradients=slope, features=y)),
        "tanh": (tf.tanh, lambda y, slope: raw.TanhGrad(y=y, dy=slope)),
        "selu": (tf.nn.selu, lambda y, slope: raw.SeluGrad(gradients=slope, outputs=y)),
        "elu": (tf.nn.elu, lambda y, slope: raw.EluGrad(gradients=slope, outputs=y)),
        "linear": (tf.identity, lambda y, slope: slope),
        "sigmoid": (tf.sigmoid, lambda y, slope: raw.SigmoidGrad(y=y, dy=slope)),
    }[name]


@lru_cache(maxsize=8)
def _trainer(
    n: int,
    m: int,
    d: int,
    hidden: tuple[int, ...],
    activation: str,
    use_dropout: bool,
    use_l1: bool,
    use_l2: bool,
    use_decay: bool,
    optimizer: str,
    validate: bool,
    sizes: tuple[int, ...],
    tied: bool,
    efron: bool,
    max_epochs: int,
    every: int,
):
    """Compile the training loop for one shape of problem: n patients, of whom m have a gradient. An ensemble compiles
    it once.

    What may change from fit to fit without compiling (split, rates, penalties, seed) is an argument.
    """
    shapes = _shapes(d, hidden)
    counts = [int(np.prod(s)) for s in shapes]
    size = sum(counts)
    is_kernel = np.repeat([len(s) == 2 for s in shapes], counts).astype(np.float32)
    act, act_gradient = _activation(activation)
    kept = -(-max_epochs // every)  # risks; one more place takes those of the steps between
    raw = tf.raw_ops
    flat, slot1, slot2 = (tf.Variable(tf.zeros(size), trainable=False) for _ in range(3))
    f4, i4, f8 = tf.float32, tf.int32, tf.float64

    def forward(w, x, masks):
        """Log-risk with dropout (n, 1) for the gradient, and without for the losses, of the inputs x; and what
        ``backward`` needs of the hidden layers, their outputs before dropout.
        """
        noisy = clean = x.product(w[0])  # the first layer sees no dropout: one product serves both
        outputs = []
        for k in range(len(hidden)):
            kernel, bias = w[2 * k + 2], w[2 * k + 1]
            same = noisy is clean
            clean = act(tf.nn.bias_add(clean, bias))
            outputs.append(clean if same else act(tf.nn.bias_add(noisy, bias)))
            noisy = product(outputs[k] * masks[k] if use_dropout else outputs[k], kernel)
            clean = product(clean, kernel) if use_dropout else noisy
        return noisy, clean, outputs

    def backward(w, x, masks, outputs, slope, learning):
        """Gradient (size,) by the weights, from that of the log-risk (n, 1); zero but for the rows ``learning``."""
        upstream, parts = tf.gather(slope, learning), []
        for k in reversed(range(len(hidden))):
            y = tf.gather(outputs[k], learning)
            mask = tf.gather(masks[k], learning) if use_dropout else 1.0
            upstream, by_kernel = gradients(y * mask if use_dropout else y, w[2 * k + 2], upstream)
            upstream = act_gradient(y, upstream * mask if use_dropout else upstream)
            parts = [raw.BiasAddGrad(out_backprop=upstream), by_kernel, *parts]
        return tf.concat([tf.reshape(p, [-1]) for p in [x.gradient(upstream), *parts]], axis=0)

    def update(gradient, step, initial, decay_rate, decay_steps):
        rate = initial * tf.pow(decay_rate, tf.cast(step, f4) / decay_steps) if use_decay else initial
        if optimizer == "sgd":
            raw.ResourceApplyGradientDescent(var=flat.handle, alpha=rate, delta=gradient)
        elif optimizer == "rmsprop":
            raw.ResourceApplyRMSProp(
                var=flat.handle, ms=slot1.handle, mom=slot2.handle, lr=rate, rho=0.9, momentum=0.0,
                epsilon=1e-7, grad=gradient,
            )  # fmt: skip
        else:
            t = tf.cast(step + 1, f4)
            raw.ResourceApplyAdam(
                var=flat.handle, m=slot1.handle, v=slot2.handle, beta1_power=tf.pow(0.9, t),
                beta2_power=tf.pow(0.999, t), lr=rate, beta1=0.9, beta2=0.999, epsilon=1e-7, grad=gradient,
            )  # fmt: skip

    @tf.function(
        input_signature=[
            tf.TensorSpec((n, d), f4), tf.TensorSpec((size,), f4), tf.TensorSpec((3, n, 2), f8),
            tf.TensorSpec((3, n), i4), tf.TensorSpec((m,), i4), tf.TensorSpec((4,), f4), tf.TensorSpec((2,), f4),
            tf.TensorSpec((), i4), tf.TensorSpec((), i4),
        ],
        autograph=False,
    )  # fmt: skip
    def loop(x, start, view, places, learning, rates, penalties, seed, patience):
        flat.assign(start)
        slot1.assign(tf.zeros(size))
        slot2.assign(tf.zeros(size))
        # columns of the loss: training part with dropout, if any; then without: training part, everybody
        columns = ([0] if use_dropout else []) + [0] + ([1] if validate else [])
        event, member, frac = (tf.gather(view[i], columns, axis=1) for i in range(3))
        frac = frac if efron else None
        event_count = tf.reduce_sum(view[0, :, 0])
        group, first, last = tf.unstack(places)
        n_val = tf.maximum(tf.reduce_sum(view[0, :, 1]) - event_count, 1.0)
        decay = tf.constant(is_kernel)
        shrink = 2.0 * penalties[1] * decay
        inputs = Inputs(x, learning)
        *decays, dropout = tf.unstack(rates)
        slots = tf.constant([k // every if k % every == 0 else kept for k in range(max_epochs)])

        def step_once(step, best_step, best_loss, best, losses, risks):
            masks = []
            if use_dropout:
                uniform = tf.random.stateless_uniform((n, sum(hidden)), tf.stack([seed, step]))
                keep = tf.cast(uniform >= dropout, f4) / (1.0 - dropout)
                masks = tf.split(keep, list(hidden), axis=1)
            weights = flat.read_value()
            w = [tf.reshape(p, s) for p, s in zip(tf.split(weights, counts), shapes, strict=True)]
            noisy, clean, outputs = forward(w, inputs, masks)
            h = tf.concat([noisy] + [clean] * (1 + validate), axis=1) if use_dropout else clean
            loss, dh = loss_and_gradient(tf.cast(h, f8), event, member, frac, group, first, last, sizes, tied)
            gradient = backward(w, inputs, masks, outputs, tf.cast(dh / event_count, f4), learning)
            if use_l2:
                gradient += shrink * weights
            if use_l1:
                gradient += penalties[0] * decay * tf.sign(weights)
            losses = losses.write(step, loss)
            every_loss = tf.unstack(loss)
            train_loss, all_loss = every_loss[int(use_dropout)], every_loss[-1]
            risks = risks.write(tf.gather(slots, step), clean)
            val_loss = (all_loss - train_loss) / n_val
            better = val_loss < best_loss if validate else tf.constant(True)
            best_step, best_loss, best = tf.cond(
                better, lambda: (step, val_loss, weights), lambda: (best_step, best_loss, best)
            )
            with tf.control_dependencies([best, gradient]):
                update(gradient, step, *decays)
            return step + 1, best_step, best_loss, best, losses, risks

        state = (
            tf.constant(0),
            tf.constant(0),
            tf.constant(np.inf, f8),
            start,
            tf.TensorArray(f8, max_epochs, element_shape=(len(columns),)),
            tf.TensorArray(f4, kept + 1, element_shape=(n, 1)),
        )
        step, best_step, _, best, losses, risks = tf.while_loop(
            lambda step, best_step, *_: (step < max_epochs) & (step - best_step <= patience),
            step_once,
            state,
            parallel_iterations=1,
        )
        clean_losses = tf.gather(losses.stack()[:step], [int(use_dropout), len(columns) - 1], axis=1)
        return best, step, best_step, clean_losses, risks.stack()[: (step - 1) // every + 1, :, 0]

    compiled = loop.get_concrete_function()

    def train(**arguments):
        out = compiled(**{k: tf.convert_to_tensor(v) for k, v in arguments.items()})
        return tuple(v.numpy() for v in out)

    return train
