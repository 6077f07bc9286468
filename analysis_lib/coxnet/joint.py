"""AutoEncoder and Cox network as one network, trained on reconstruction plus partial likelihood.

The second option beside the paper's two steps: the code then keeps what tells about survival, at the price that
the outcome shapes all of it. What is learnt besides the decoder is an ordinary Cox network from features to
log-risk, so the ensemble, its baseline hazard and its files are the same for both options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from analysis_lib.coxnet import products
from analysis_lib.coxnet.deepsurv import CoxNetwork, TrainingError, learning_curve
from analysis_lib.coxnet.fitting import derived_seed
from analysis_lib.coxnet.partial_likelihood import RiskSets, efron_fractions, loss_and_gradient
from analysis_lib.coxnet.settings import AutoEncoderParams, NetworkParams
from analysis_lib.coxnet.tf_setup import keras, tf


def train_joint(
    x: np.ndarray,
    sets: RiskSets,
    in_training: Sequence[np.ndarray],
    autoencoder: AutoEncoderParams,
    params: NetworkParams,
    seeds: Sequence[int],
) -> list[tuple[CoxNetwork, pd.DataFrame]]:
    """Train a joint network for each of ``in_training`` on scaled features ``x`` (n, d), rows sorted as ``sets``;
    arguments and each result as of ``deepsurv.train_network``. What is trained is compiled once.

    The loss is the mean squared reconstruction error of the training part plus ``autoencoder.joint_weight`` times
    the negative log partial likelihood per event, by Adam on the full batch. Epochs, patience and learning rate
    are the AutoEncoder's; the best epoch is the one with the best held-out partial likelihood.
    """
    train = _trainer(x, sets, autoencoder, params)
    return [train(np.asarray(part, bool), seed) for part, seed in zip(in_training, seeds, strict=True)]


def _trainer(x: np.ndarray, sets: RiskSets, autoencoder: AutoEncoderParams, params: NetworkParams) -> Callable:
    """Compile an epoch; what changes from network to network (who is held out, the seed) is an argument."""
    event = sets.event.astype(bool)
    activations = [autoencoder.activation] * len(autoencoder.hidden) + [autoencoder.code_activation]
    activations += [params.activation] * len(params.hidden)
    widths = [*autoencoder.hidden, autoencoder.code_size, *params.hidden]
    n_encoder = len(autoencoder.hidden) + 1
    dense = keras.layers.Dense
    encoder = [dense(width, activation) for width, activation in zip(widths, activations, strict=True)]
    encoder, head = encoder[:n_encoder], [*encoder[n_encoder:], dense(1, "linear", use_bias=False)]
    decoder = [dense(width, autoencoder.activation) for width in reversed(autoencoder.hidden)]
    decoder.append(dense(x.shape[1], "linear"))
    data = tf.constant(x, tf.float32)
    code = data
    for layer in encoder:
        code = layer(code)
    for part in (head, decoder):
        h = code
        for layer in part:
            h = layer(h)
    drawn = [*enumerate((*encoder, *head[:-1])), *enumerate(decoder, start=100)]  # the last of the head starts at zero
    variables = [v for layer in (*encoder, *head, *decoder) for v in layer.trainable_variables]
    optimizer = keras.optimizers.Adam(autoencoder.learning_rate)
    optimizer.build(variables)
    at_start = [v.numpy() for v in optimizer.variables]
    kernels = [v for v in variables if len(v.shape) == 2]

    def restart(seed: int) -> None:
        for variable, value in zip(optimizer.variables, at_start, strict=True):
            variable.assign(value)
        for variable in variables:
            variable.assign(tf.zeros(variable.shape))
        for part, layer in drawn:
            glorot = keras.initializers.GlorotUniform(seed=derived_seed(seed, 6, part))
            layer.kernel.assign(glorot(layer.kernel.shape))

    def log_risk(h, training: bool, seed=None, number=None):
        for layer in encoder:
            h = products.dense(layer, h)
        coded = h
        for k, layer in enumerate(head):
            if training and params.dropout > 0 and k > 0:
                uniform = tf.random.stateless_uniform(tf.shape(h), tf.stack([seed, number * 100 + k]))
                h = h * tf.cast(uniform >= params.dropout, tf.float32) / (1.0 - params.dropout)
            h = products.dense(layer, h)
        return coded, h

    whole, of_view = tf.TensorSpec((), tf.int32), tf.TensorSpec((len(x), 2), tf.float64)

    @tf.function(input_signature=[whole, whole, of_view, of_view, of_view], autograph=False)
    def epoch(number, seed, event_t, member, fractions):
        n_events, n_training = tf.reduce_sum(event_t[:, 0]), tf.reduce_sum(member[:, 0])
        noise = tf.random.stateless_normal(x.shape, tf.stack([seed, -1 - number]))
        with tf.GradientTape() as tape:
            coded, noisy = log_risk(data + autoencoder.noise * noise, True, seed, number)
            h = coded
            for layer in decoder:
                h = products.dense(layer, h)
            squared = tf.reduce_sum(tf.cast(member[:, :1], tf.float32) * tf.square(h - data))
            error = squared / tf.cast(n_training * x.shape[1], tf.float32)
            penalty = autoencoder.l2 * tf.add_n([tf.reduce_sum(tf.square(k)) for k in kernels])
            penalty += autoencoder.l1_code * tf.reduce_mean(tf.abs(coded))
            # the gradient of the partial likelihood is written out, so it enters as a linear term
            _, slope = loss_and_gradient(
                tf.cast(noisy, tf.float64), event_t[:, :1], member[:, :1], fractions[:, :1],
                sets.group, sets.first, sets.last, sets.sizes, sets.tied,
            )  # fmt: skip
            slope = tf.stop_gradient(tf.cast(slope / n_events, tf.float32))
            total = error + penalty + autoencoder.joint_weight * tf.reduce_sum(slope * noisy)
        optimizer.apply_gradients(zip(tape.gradient(total, variables), variables, strict=True))
        _, clean = log_risk(data, False)
        both = tf.cast(tf.repeat(clean, 2, axis=1), tf.float64)
        losses, _ = loss_and_gradient(
            both, event_t, member, fractions, sets.group, sets.first, sets.last, sets.sizes, sets.tied
        )
        return losses, clean[:, 0]

    def train(in_training: np.ndarray, seed: int) -> tuple[CoxNetwork, pd.DataFrame]:
        restart(seed)
        validate, event_train = not in_training.all(), event & in_training
        frac = efron_fractions(event_train, sets.group) if sets.ties == "efron" else np.zeros(len(x))
        view = [[event_train, event], [in_training, np.ones(len(x))], [frac, sets.frac]]
        fixed = [tf.constant(seed % 2**31), *(tf.constant(np.stack(part, axis=-1), tf.float64) for part in view)]
        losses, risks, best, best_step = [], [], np.inf, 0
        kept: list[np.ndarray] = []
        for step in range(autoencoder.max_epochs):
            loss, risk = (v.numpy() for v in epoch(tf.constant(step), *fixed))
            if not np.isfinite(loss).all():
                raise TrainingError(
                    f"the loss of the joint network was no longer finite at step {step + 1}; lower "
                    f"autoencoder.learning_rate ({autoencoder.learning_rate:g})"
                )
            losses.append(loss)
            if step % params.c_index_every == 0:
                risks.append(risk)
            held_out = loss[1] - loss[0]
            if not validate or held_out < best:
                best, best_step = held_out, step
                kept = [v.numpy() for layer in (*encoder, *head) for v in layer.trainable_variables]
            if validate and step - best_step >= autoencoder.patience:
                break
        history = learning_curve(np.array(losses), np.array(risks), params.c_index_every, sets, in_training, best_step)
        return CoxNetwork(tuple(kept), ",".join(activations)), history

    return train
