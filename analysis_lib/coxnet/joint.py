"""AutoEncoder and Cox network as one network, trained on reconstruction plus partial likelihood.

The second option beside the paper's two steps: the code then keeps what tells about survival, at the price that
the outcome shapes all of it. What is learnt besides the decoder is an ordinary Cox network from features to
log-risk, so the ensemble, its baseline hazard and its files are the same for both options.
"""

from __future__ import annotations

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
    in_training: np.ndarray,
    autoencoder: AutoEncoderParams,
    params: NetworkParams,
    seed: int,
) -> tuple[CoxNetwork, pd.DataFrame]:
    """Train one joint network on scaled features ``x`` (n, d), rows sorted as ``sets``; arguments and results as
    ``deepsurv.train_network``.

    The loss is the mean squared reconstruction error of the training part plus ``autoencoder.joint_weight`` times
    the negative log partial likelihood per event, by Adam on the full batch. Epochs, patience and learning rate
    are the AutoEncoder's; the best epoch is the one with the best held-out partial likelihood.
    """
    in_training = np.asarray(in_training, bool)
    validate = not in_training.all()
    event = sets.event.astype(bool)
    event_train = event & in_training
    frac = efron_fractions(event_train, sets.group) if sets.ties == "efron" else np.zeros(len(x))
    view = np.stack([[event_train, in_training, frac], [event, np.ones(len(x)), sets.frac]], axis=-1)
    activations = [autoencoder.activation] * len(autoencoder.hidden) + [autoencoder.code_activation]
    activations += [params.activation] * len(params.hidden)
    widths = [*autoencoder.hidden, autoencoder.code_size, *params.hidden]
    n_encoder = len(autoencoder.hidden) + 1

    def dense(width: int, activation: str, part: int, bias: bool = True) -> keras.layers.Dense:
        start = "zeros" if width == 1 else keras.initializers.GlorotUniform(seed=derived_seed(seed, 6, part))
        return keras.layers.Dense(width, activation, use_bias=bias, kernel_initializer=start)

    encoder = [dense(w, a, i) for i, (w, a) in enumerate(zip(widths, activations, strict=True))]
    encoder, head = encoder[:n_encoder], [*encoder[n_encoder:], dense(1, "linear", len(widths), bias=False)]
    back = [*reversed(autoencoder.hidden), x.shape[1]]
    decoder = [
        dense(w, "linear" if i == len(back) - 1 else autoencoder.activation, 100 + i) for i, w in enumerate(back)
    ]
    data = tf.constant(x, tf.float32)
    code = data
    for layer in encoder:
        code = layer(code)
    for part in (head, decoder):
        h = code
        for layer in part:
            h = layer(h)
    variables = [v for layer in (*encoder, *head, *decoder) for v in layer.trainable_variables]
    optimizer = keras.optimizers.Adam(autoencoder.learning_rate)
    optimizer.build(variables)
    train_rows = tf.constant(in_training[:, None], tf.float32)
    kernels = [v for v in variables if len(v.shape) == 2]
    event_t, member, fractions = (tf.constant(view[i].astype(np.float64)) for i in range(3))
    n_events, n_values = float(event_train.sum()), float(in_training.sum() * x.shape[1])

    def log_risk(h, training: bool, number=None):
        for layer in encoder:
            h = products.dense(layer, h)
        coded = h
        for k, layer in enumerate(head):
            if training and params.dropout > 0 and k > 0:
                uniform = tf.random.stateless_uniform(tf.shape(h), tf.stack([seed % 2**31, number * 100 + k]))
                h = h * tf.cast(uniform >= params.dropout, tf.float32) / (1.0 - params.dropout)
            h = products.dense(layer, h)
        return coded, h

    @tf.function(input_signature=[tf.TensorSpec((), tf.int32)], autograph=False)
    def epoch(number):
        noise = tf.random.stateless_normal(x.shape, tf.stack([seed % 2**31, -1 - number]))
        with tf.GradientTape() as tape:
            coded, noisy = log_risk(data + autoencoder.noise * noise, True, number)
            h = coded
            for layer in decoder:
                h = products.dense(layer, h)
            error = tf.reduce_sum(train_rows * tf.square(h - data)) / n_values
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

    losses, risks, best, best_step = [], [], np.inf, 0
    kept: list[np.ndarray] = []
    for step in range(autoencoder.max_epochs):
        loss, risk = (v.numpy() for v in epoch(tf.constant(step)))
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
