"""TensorFlow, imported in one way: quiet, on one thread, deterministic.

Import ``tf`` and ``keras`` from here and nowhere else. One thread, because several threads may add the same
numbers in another order, and a result must not depend on how many cores a machine has. The networks here are
so small that threads would not help anyway; run several fits as several processes instead.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # the other settings of the environment: analysis_lib.PINNED


@contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what TensorFlow's C++ writes to standard error before its log level counts (the missing
    graphics card, twice); it is shown after all if the block fails.
    """
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        keep = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(keep, held.read())
            raise
        finally:
            os.dup2(keep, 2)
            os.close(keep)


with warnings.catch_warnings(), _quiet():
    warnings.simplefilter("ignore")  # deprecations inside TensorFlow's own imports
    import keras
    import tensorflow as tf

if keras.backend.backend() != "tensorflow":
    raise ImportError(
        f"Keras runs on {keras.backend.backend()!r}, but this study needs TensorFlow; unset KERAS_BACKEND"
    )

try:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
except RuntimeError:  # somebody used TensorFlow before us
    warnings.warn(
        "TensorFlow was started before analysis_lib.coxnet.tf_setup; results may depend on the number of cores. "
        "Import analysis_lib first.",
        stacklevel=2,
    )
tf.config.experimental.enable_op_determinism()
with _quiet():
    tf.config.list_physical_devices()


def save_keras(model: keras.Model, path: Path) -> None:
    """Save in Keras' own format, the same bytes for the same weights, without the NumPy deprecations inside Keras."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        model.save(path)
    _settle(path)


def _settle(path: Path) -> None:
    """Write the archive again without what differs from save to save: times, and addresses in memory."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    metadata = json.loads(content["metadata.json"])
    metadata.pop("date_saved", None)
    content["metadata.json"] = json.dumps(metadata).encode()
    content["config.json"] = re.sub(rb', "shared_object_id": \d+', b"", content["config.json"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(zipfile.ZipInfo(name), data)  # of 1980, as Keras has it


def load_keras(path: Path) -> keras.Model:
    """Load what ``save_keras`` wrote; ValueError where it is something else, before anything is built."""
    _check_declared(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return keras.saving.load_model(path, compile=False)


def _check_declared(path: Path) -> None:
    """Layers of this library alone, of no more weights than the file has bytes for: Keras takes memory as told."""
    with zipfile.ZipFile(path) as archive:
        if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
            raise ValueError(f"{path.name} is packed, as no saved model is")
        config = json.loads(archive.read("config.json"))
        room = archive.getinfo("model.weights.h5").file_size // 4  # of single precision
    widths, weights = {}, 0
    for layer in config["config"]["layers"]:
        name, settings = layer["name"], layer["config"]
        if layer["class_name"] == "InputLayer":
            widths[name] = settings["batch_shape"][-1]
        elif layer["class_name"] == "Dense":
            (before,) = layer["inbound_nodes"]
            widths[name] = settings["units"]
            weights += widths[before["args"][0]["config"]["keras_history"][0]] * settings["units"]
        else:
            raise ValueError(f"{path.name} has a layer that no saved model has")
    if weights > room:
        raise ValueError(f"{path.name} declares {weights} weights and holds {room} at most")


__all__ = ["keras", "load_keras", "save_keras", "tf"]
