"""AutoEncoder from the scaled features to a code of a few variables.

Trained on the scaled features of training patients only, with early stopping on a part of them. The noise
added to the input while training (a denoising AutoEncoder, Vincent et al. 2008,
doi 10.1145/1390156.1390294) keeps 1343 features of 345 patients from being learnt by heart.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd

from analysis_lib.common.files import read_csv
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.products import BLOCK, RANK, alike, dense, product, span
from analysis_lib.coxnet.scaling import canonical_order
from analysis_lib.coxnet.settings import AutoEncoderParams
from analysis_lib.coxnet.tf_setup import keras, load_keras, save_keras, tf

TRAIN_LOSS_EVERY = 5  # epochs


@dataclass(frozen=True)
class AutoEncoder:
    """Fitted AutoEncoder: ``model`` from d features to d features, with a layer named 'code'.

    history : a row an epoch, columns step, train_loss, val_loss (mean squared error in SDs, without noise
    and penalties; of the training part at every ``TRAIN_LOSS_EVERY``-th epoch, since it costs as much as learning).
    """

    model: keras.Model
    history: pd.DataFrame = field(default_factory=pd.DataFrame)

    @classmethod
    def fit(cls, z: np.ndarray, params: AutoEncoderParams, seed: int) -> AutoEncoder:
        """Train on scaled features z (n, d), finite; the order of patients does not matter.

        Raises ValueError for fewer than 2 patients or values that are not finite.
        """
        z = np.asarray(z, dtype=np.float32)
        if len(z) < 2 or not np.isfinite(z).all():
            raise ValueError(f"an AutoEncoder needs at least 2 patients and finite features, got {z.shape}")
        z = z[canonical_order(z)]
        rng = np.random.default_rng(derived_seed(seed, 3))
        shuffled = rng.permutation(len(z))
        n_val = max(1, round(params.validation_fraction * len(z)))
        val, train = z[shuffled[:n_val]], z[shuffled[n_val:]]
        model = build(z.shape[1], params, seed)
        axes = span(z)
        if axes is None:
            return cls(model, _train(model, train, val, params, rng, derived_seed(seed, 4)))
        inside = build(axes.shape[1], params, seed)
        inside.set_weights(_turned(model.get_weights(), axes))
        train, val = (_rounded(part.astype(np.float64) @ axes) for part in (train, val))
        history = _train(inside, train, val, params, rng, derived_seed(seed, 4), z.shape[1])
        model.set_weights(_turned(inside.get_weights(), axes.T))
        return cls(model, history)

    def __reduce__(self) -> tuple:
        """Pickled as layers and weights: Keras' own way writes an archive, with a warning of NumPy."""
        return _restored, (self.model.get_config(), self.model.get_weights(), self.history)

    def encode(self, z: np.ndarray) -> np.ndarray:
        """Code (n, code_size) of scaled features (n, d), float32."""
        names = [layer.name for layer in self.model.layers]
        if "code" not in names:
            raise ValueError("the AutoEncoder has no layer named 'code'")
        return alike(partial(_through, self.model.layers[1 : names.index("code") + 1]), z)

    def reconstruct(self, z: np.ndarray) -> np.ndarray:
        """Scaled features after encoding and decoding, (n, d)."""
        return alike(partial(_through, self.model.layers[1:]), z)

    def reconstruction_error(self, z: np.ndarray) -> np.ndarray:
        """Mean squared error (d,) of each feature over the patients, in its training SDs squared."""
        return np.mean((self.reconstruct(z) - z).astype(np.float64) ** 2, axis=0)

    def patient_error(self, z: np.ndarray) -> np.ndarray:
        """Mean squared error (n,) of each patient over the features, in training SDs squared."""
        return np.mean((self.reconstruct(z) - z).astype(np.float64) ** 2, axis=1)

    def explained_variance(self, z: np.ndarray) -> float:
        """Share of the patients' squared deviations from the training mean (0) that the code keeps."""
        return explained_variance(z, self.reconstruct(z))

    def save(self, folder: Path) -> None:
        """Write autoencoder.keras and autoencoder_history.csv into ``folder``."""
        save_keras(self.model, folder / "autoencoder.keras")
        self.history.to_csv(folder / "autoencoder_history.csv", index=False, lineterminator="\n")

    @classmethod
    def load(cls, folder: Path) -> AutoEncoder:
        """Read what ``save`` wrote."""
        history = read_csv(Path(folder) / "autoencoder_history.csv")
        return cls(load_keras(Path(folder) / "autoencoder.keras"), history)


def _restored(config: dict, weights: list[np.ndarray], history: pd.DataFrame) -> AutoEncoder:
    model = keras.Model.from_config(config)
    model.set_weights(weights)
    return AutoEncoder(model, history)


def build(n_features: int, params: AutoEncoderParams, seed: int) -> keras.Model:
    """Untrained model: hidden layers, the code, hidden layers in reverse, a linear output."""
    inputs = h = keras.Input((n_features,), name="features")
    plan = [(f"encoder_{i}", width) for i, width in enumerate(params.hidden)]
    plan += [("code", params.code_size)]
    plan += [(f"decoder_{i}", width) for i, width in enumerate(reversed(params.hidden))]
    plan += [("reconstruction", n_features)]
    for i, (name, width) in enumerate(plan):
        activation = {"code": params.code_activation, "reconstruction": "linear"}.get(name, params.activation)
        initial = keras.initializers.GlorotUniform(seed=derived_seed(seed, 5, i))
        h = keras.layers.Dense(width, activation, kernel_initializer=initial, name=name)(h)
    return keras.Model(inputs, h, name="autoencoder")


def _turned(weights: list[np.ndarray], axes: np.ndarray) -> list[np.ndarray]:
    """Weights of an AutoEncoder of d features as one of r (axes (d, r)), or back (axes (r, d))."""
    first, *between, last, bias = weights
    turned = [axes.T @ first, *between, last @ axes, bias @ axes]
    return [_rounded(np.asarray(w, np.float64)) for w in turned]


def _rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(np.float32)


def _train(
    model, train, val, params: AutoEncoderParams, rng, noise_seed: int, features: int | None = None
) -> pd.DataFrame:
    """Adam on mini-batches; leaves the weights of the best validation epoch in ``model``.

    ``features``: over how many the error is a mean, where ``train`` and ``val`` hold fewer axes (see ``span``).
    """
    n, d = train.shape
    layers = tuple((layer.units, layer.activation.__name__, layer.name == "code") for layer in model.layers[1:])
    epoch, error, weights = _trainer(n, d, layers, min(params.batch_size, n), params.noise > 0, params.l1_code > 0)
    start = model.get_weights()
    weights.assign(np.concatenate([w.ravel() for w in start]))
    fixed = [tf.constant(part) for part in (train, val)]
    numbers = tf.constant([params.learning_rate, params.noise, params.l1_code, params.l2, d / (features or d)])
    seed = tf.constant(noise_seed % 2**31)
    rows, best, best_step, kept = [], np.inf, 0, weights.numpy()
    told = range(1, params.max_epochs + 1, TRAIN_LOSS_EVERY)
    for step in range(1, params.max_epochs + 1):
        order = tf.constant(rng.permutation(n), tf.int32)
        val_loss = float(epoch(*fixed, order, tf.constant(step), seed, numbers))
        rows.append((step, float(error(fixed[0], numbers)) if step in told else np.nan, val_loss))
        if val_loss < best:
            best, best_step, kept = val_loss, step, weights.numpy()
        if step - best_step >= params.patience or not np.isfinite(val_loss):
            break
    if not np.isfinite([row[2] for row in rows]).all():
        raise ValueError(f"the AutoEncoder's loss was no longer finite; lower learning_rate ({params.learning_rate:g})")
    ends = np.cumsum([w.size for w in start])[:-1]
    model.set_weights([part.reshape(w.shape) for part, w in zip(np.split(kept, ends), start, strict=True)])
    return pd.DataFrame(rows, columns=["step", "train_loss", "val_loss"])


@lru_cache(maxsize=8)
def _trainer(n: int, d: int, layers: tuple[tuple[int, str, bool], ...], batch: int, use_noise: bool, use_l1: bool):
    """Compile an epoch of ``n`` patients and ``d`` features and the error of others, and the flat weights of both.

    layers: (units, activation, whether it is the code) from the first to the last.
    """
    widths = [d, *(units for units, *_ in layers)]
    shapes = [shape for a, b in itertools.pairwise(widths) for shape in ((a, b), (b,))]
    counts = [int(np.prod(shape)) for shape in shapes]
    is_kernel = tf.constant(np.repeat([len(shape) == 2 for shape in shapes], counts).astype(np.float32))
    flat, slot1, slot2 = (tf.Variable(tf.zeros(sum(counts)), trainable=False) for _ in range(3))
    raw = tf.raw_ops

    def through(weights: tf.Tensor, h: tf.Tensor, rows: int | None) -> tuple[tf.Tensor, tf.Tensor]:
        """Reconstruction and code of h (rows at most, d)."""
        parts = [tf.reshape(p, s) for p, s in zip(tf.split(weights, counts), shapes, strict=True)]
        code = h
        for kernel, bias, (_, activation, is_code) in zip(parts[::2], parts[1::2], layers, strict=True):
            h = keras.activations.get(activation)(tf.nn.bias_add(product(h, kernel, rows), bias))
            code = h if is_code else code
        return h, code

    def learn(target: tf.Tensor, h: tf.Tensor, t: tf.Tensor, numbers: tf.Tensor) -> None:
        rate, _, l1, l2, share = tf.unstack(numbers)
        weights = flat.read_value()
        with tf.GradientTape() as tape:
            tape.watch(weights)
            output, code = through(weights, h, batch)
            loss = share * tf.reduce_mean(tf.square(output - target))
            if use_l1:
                loss += l1 * tf.reduce_mean(tf.abs(code))
        gradient = tape.gradient(loss, weights) + 2.0 * l2 * (is_kernel * weights)
        raw.ResourceApplyAdam(
            var=flat.handle, m=slot1.handle, v=slot2.handle, beta1_power=tf.pow(0.9, t), beta2_power=tf.pow(0.999, t),
            lr=rate, beta1=0.9, beta2=0.999, epsilon=1e-7, grad=gradient,
        )  # fmt: skip

    # Without autograph, which takes longer to rewrite these lines than the epochs of a small study.
    @tf.function(autograph=False)
    def epoch(train, val, order, number, seed, numbers):
        first_epoch = tf.equal(number, 1)
        for slot in (slot1, slot2):  # what the fit before this one left
            slot.assign(tf.where(first_epoch, tf.zeros_like(slot), slot))
        noisy = shuffled = tf.gather(train, order)
        if use_noise:
            noisy += numbers[1] * tf.random.stateless_normal((n, d), tf.stack([seed, number]))
        done = tf.cast((number - 1) * -(-n // batch) + 1, tf.float32)

        def batch_from(first: tf.Tensor | int, t: tf.Tensor) -> tuple[tf.Tensor | int, tf.Tensor]:
            learn(shuffled[first : first + batch], noisy[first : first + batch], t, numbers)
            return first + batch, t + 1

        if batch > BLOCK:  # its size must stand in the graph, so that its products can be cut
            for k, first in enumerate(range(0, n, batch)):
                batch_from(first, done + k)
        else:
            tf.while_loop(lambda first, _: first < n, batch_from, (tf.constant(0), done))
        return error(val, numbers)

    @tf.function(autograph=False, reduce_retracing=True)
    def error(part, numbers):
        return numbers[4] * tf.reduce_mean(tf.square(through(flat.read_value(), part, None)[0] - part))

    return epoch, error, flat


def _through(layers: list[keras.layers.Dense], h: tf.Tensor) -> tf.Tensor:
    for layer in layers:
        h = dense(layer, h)
    return h


def explained_variance(z: np.ndarray, reconstructed: np.ndarray) -> float:
    """1 - squared error / squared deviation from 0 (the training mean), over all patients and features."""
    z, reconstructed = np.asarray(z, np.float64), np.asarray(reconstructed, np.float64)
    total = np.sum(z**2)
    return float(1 - np.sum((z - reconstructed) ** 2) / total) if total > 0 else float("nan")


def pca_explained_variance(z_train: np.ndarray, z: np.ndarray, components: int) -> float:
    """What as many principal components of the training patients explain of ``z``, for comparison."""
    mean = z_train.mean(axis=0, dtype=np.float64)
    _, size, axes = np.linalg.svd(z_train - mean, full_matrices=False)
    axes = axes[:components][size[:components] > RANK * size[0]]
    return explained_variance(z, mean + ((z - mean) @ axes.T) @ axes)


def code_report(code: np.ndarray, copy_correlation: float = 0.99) -> pd.DataFrame:
    """One row a code variable: sd, constant, max_abs_correlation with another one, and copy_of, the first
    earlier variable with which it correlates above ``copy_correlation`` (-1: none).
    """
    code = np.asarray(code, np.float64)
    sd = code.std(axis=0)
    constant = ~(sd > 1e-6)
    z = (code - code.mean(axis=0)) / np.where(constant, np.inf, sd)
    r = np.abs(z.T @ z) / max(len(code), 1)
    np.fill_diagonal(r, 0.0)
    earlier = np.tril(r) > copy_correlation
    copy_of = np.where(earlier.any(axis=1), earlier.argmax(axis=1), -1)
    index = pd.RangeIndex(code.shape[1], name="variable")
    columns = {"sd": sd, "constant": constant, "max_abs_correlation": r.max(axis=1), "copy_of": copy_of}
    return pd.DataFrame(columns, index=index)
