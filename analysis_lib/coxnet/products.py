"""Matrix products whose last digits do not depend on the processor's cache.

TensorFlow splits the inner dimension of a long product by the size of the L1 cache and adds the parts; from some 400
terms on, 32 KiB and 48 KiB give other sums in the last digit. Here the inner dimension is cut into blocks that every
cache holds, and these are added in one order. The gradient is cut in the same way.

Nor does a row of a result depend on the rows beside it (``alike``): rows are taken by the dozen, with other kernels for
those that are left over, so a patient alone would get another last digit than among others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from operator import add

import numpy as np
from numpy.typing import ArrayLike, NDArray

from analysis_lib.coxnet.tf_setup import keras, tf

BLOCK = 384  # terms; none of up to 400 is split where the L1 cache has 32 KiB, as on every x86-64-v3 processor
ROWS = 48  # a multiple of the rows and columns that any kernel for AVX2 takes at a time (4, 6, 8, 16, 24)
RANK = 1e-5  # of the largest singular value: what is less is rounding, and its direction is any
FEW = 16  # blocks, up to which they are multiplied one by one; more go through one batched product


def product(a: tf.Tensor, b: tf.Tensor, rows: int | None = None) -> tf.Tensor:
    """a (n, k) times b (k, m), float32. ``rows``: what n is at most, where the shape of a does not say."""

    @tf.custom_gradient
    def multiply(a: tf.Tensor, b: tf.Tensor) -> tuple[tf.Tensor, object]:
        return _by_blocks(a, b, False, False), lambda upstream: gradients(a, b, upstream, rows)

    return multiply(a, b)


def gradients(a: tf.Tensor, b: tf.Tensor, upstream: tf.Tensor, rows: int | None = None) -> tuple[tf.Tensor, tf.Tensor]:
    """Gradients of ``product`` by a and by b, from that of its result (n, m)."""
    return _by_blocks(upstream, b, False, True), _by_blocks(a, upstream, True, False, rows)


def alike(function: Callable[[tf.Tensor], tf.Tensor], x: ArrayLike) -> NDArray[np.float32]:
    """``function``, from (n, k) to (n, m) row by row, of x, so that the bits of a row depend on that row alone."""
    x = np.asarray(x, dtype=np.float32)
    rows = -(-len(x) // ROWS) * ROWS
    padded = np.zeros((rows, x.shape[1]), np.float32)
    padded[: len(x)] = x
    return function(tf.convert_to_tensor(padded)).numpy()[: len(x)]


class Inputs:
    """x (n, k), multiplied at every step of a training: cut once. The gradient is of its rows ``learning`` (l,)."""

    def __init__(self, x: tf.Tensor, learning: tf.Tensor) -> None:
        self.blocks = [_cut(x, 1, first, x.shape[1]) for first in range(0, x.shape[1], BLOCK)]
        # Turned once: a product that turns its left side at every step takes longer.
        x = tf.gather(x, learning)
        self.turned = [tf.transpose(_cut(x, 0, first, x.shape[0])) for first in range(0, x.shape[0], BLOCK)]

    def product(self, b: tf.Tensor) -> tf.Tensor:
        """x times b (k, m), with the bits of ``product``."""
        return _sum(self.blocks, b)

    def gradient(self, upstream: tf.Tensor) -> tf.Tensor:
        """Gradient of ``product`` by b (k, m), from that of its result (l, m)."""
        return _sum(self.turned, upstream)


def _sum(blocks: list[tf.Tensor], b: tf.Tensor) -> tf.Tensor:
    """The blocks' products with their rows of b, added in order."""
    return reduce(add, (tf.matmul(a, _cut(b, 0, number * BLOCK, b.shape[0])) for number, a in enumerate(blocks)))


def dense(layer: keras.layers.Dense, h: tf.Tensor, rows: int | None = None) -> tf.Tensor:
    """What a Keras layer computes of h (n, k), by ``product``."""
    h = product(h, tf.convert_to_tensor(layer.kernel), rows)
    return layer.activation(tf.nn.bias_add(h, layer.bias) if layer.use_bias else h)


def _by_blocks(
    a: tf.Tensor, b: tf.Tensor, transpose_a: bool, transpose_b: bool, at_most: int | None = None
) -> tf.Tensor:
    axis_a, axis_b = (0 if transpose_a else 1), (1 if transpose_b else 0)
    terms = a.shape[axis_a] if a.shape[axis_a] is not None else b.shape[axis_b]
    if terms is None and (at_most is None or at_most > BLOCK):
        raise ValueError(f"the inner dimension of a product must be known, not {a.shape} by {b.shape}")
    if terms is None or terms <= BLOCK:
        return tf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)

    def multiply(first: int) -> tf.Tensor:
        left, right = _cut(a, axis_a, first, terms), _cut(b, axis_b, first, terms)
        return tf.matmul(left, right, transpose_a=transpose_a, transpose_b=transpose_b)

    if terms <= FEW * BLOCK:
        return reduce(add, (multiply(first) for first in range(0, terms, BLOCK)))
    whole = terms // BLOCK * BLOCK
    left, right = (_stacked(x, axis, whole) for x, axis in ((a, axis_a), (b, axis_b)))
    total = tf.reduce_sum(tf.matmul(left, right, transpose_a=True), axis=0)
    return total if whole == terms else total + multiply(whole)


def _cut(x: tf.Tensor, axis: int, first: int, end: int) -> tf.Tensor:
    last = min(first + BLOCK, end)
    return x[first:last] if axis == 0 else x[:, first:last]


def _stacked(x: tf.Tensor, axis: int, whole: int) -> tf.Tensor:
    """The first ``whole`` terms as (blocks, BLOCK, other dimension)."""
    x = x[:whole] if axis == 0 else tf.transpose(x[:, :whole])
    return tf.reshape(x, (whole // BLOCK, BLOCK, -1))


def span(z: np.ndarray) -> np.ndarray | None:
    """Orthonormal axes (d, r), float64, that span the n patients of z (n, d); None where that would save little.

    n patients lie in n directions, and what a first layer does to any other direction they cannot tell. L2 penalty and
    squared error are the same in all orthonormal axes, so a network may be trained on the patients' places along these
    ones and turned back afterwards, for r / d of the work. The functions that it can learn are the same; Adam, which
    moves each weight alone, takes another way to one, and noise on the inputs has no part outside the span.
    """
    n, d = z.shape
    if 2 * n > d or not z.any():
        return None
    _, size, axes = np.linalg.svd(np.asarray(z, np.float64), full_matrices=False)
    return axes[size > RANK * size[0]].T
