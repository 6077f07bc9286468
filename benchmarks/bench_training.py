"""Time our training loop against pycox and torchsurv in one run; writes build/bench/training.json.

The same Cox network (d -> 64 -> 32 -> 1, no dropout), the same 345 patients, full batch, Adam, validation loss after
every epoch, Breslow's ties for all. Epochs a second come from a run of a fixed number of epochs, the test C-index
and the seconds to the early stop from a run with patience 50. pycox and torchsurv live in an environment of their
own, build/bench/venv, which this script makes from benchmarks/requirements.lock; they are no part of the study.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

OTHERS = len(sys.argv) == 3  # called by ourselves in the environment of pycox and torchsurv, which has no analysis_lib
if not OTHERS:
    import analysis_lib  # noqa: F401  before NumPy, since it pins the numerical libraries

import numpy as np  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
OUTPUT = ROOT / "build" / "bench" / "training.json"
VENV = ROOT / "build" / "bench" / "venv"
LOCK = ROOT / "benchmarks" / "requirements.lock"
HIDDEN, RATE, PATIENCE, MAX_EPOCHS = (64, 32), 1e-3, 50, 1000
SIZES = {100: 3000, 1343: 1500}  # inputs: epochs of the timed run


def cohort(d: int, n: int = 345, n_test: int = 1000) -> dict[str, np.ndarray]:
    """Patients whose hazard hangs on ten of d inputs; about one in five dies; rows 0:276 learn, :345 validate."""
    rng = np.random.default_rng(d)
    x = rng.standard_normal((n + n_test, d)).astype(np.float32)
    death = rng.exponential(200 * np.exp(-x[:, :10].sum(axis=1) / 3))
    censored = rng.uniform(12, 72, n + n_test)
    return {
        "x": x,
        "time": np.minimum(death, censored).astype(np.float32),
        "event": (death <= censored).astype(np.float32),
        "part": np.where(np.arange(n + n_test) < 276, 0, np.where(np.arange(n + n_test) < n, 1, 2)),
    }


def ours(d: int, data: dict[str, np.ndarray]) -> dict[str, float]:
    from analysis_lib.core.parameters import NetworkParams
    from analysis_lib.coxnet.deepsurv import train_network
    from analysis_lib.coxnet.partial_likelihood import risk_sets

    params = NetworkParams(
        hidden=list(HIDDEN), activation="relu", dropout=0, l2=0, ties="breslow", patience=PATIENCE,
        max_epochs=MAX_EPOCHS, learning_rate=RATE * max(1.0, (d / 10) ** 0.5), c_index_every=10_000,
    )  # fmt: skip
    learn = data["part"] < 2
    sets = risk_sets(data["time"][learn], data["event"][learn], ties="breslow")
    x, training = data["x"][learn][sets.rows], (data["part"][learn] == 0)[sets.rows]

    def run(epochs: int, patience: int):
        settings = params.model_copy(update={"max_epochs": epochs, "patience": patience})
        train_network(x, sets, training, settings, 1)  # compiles
        begun = time.perf_counter()
        network, history = train_network(x, sets, training, settings, 2)
        return network, len(history), time.perf_counter() - begun

    rates = []
    for _ in range(3):
        _, epochs, seconds = run(SIZES[d], SIZES[d] + 1)
        rates.append(epochs / seconds)
    network, epochs, seconds = run(MAX_EPOCHS, PATIENCE)
    risk = network.log_risk(data["x"][data["part"] == 2])
    return {"epochs_per_s": max(rates), "stop_epochs": epochs, "stop_seconds": seconds, "risk": risk}


def torch_run(framework: str, d: int, data: dict[str, np.ndarray]) -> dict[str, float]:
    """One of the others, inside their own environment."""
    import torch

    torch.set_num_threads(int(os.environ.get("BENCH_THREADS", "0")) or (os.cpu_count() or 1))
    part = data["part"]
    learn, valid, test = ({k: data[k][part == p] for k in ("x", "time", "event")} for p in (0, 1, 2))
    run = _pycox if framework == "pycox" else _torchsurv

    def network():
        torch.manual_seed(2)
        a, b = HIDDEN
        return torch.nn.Sequential(
            torch.nn.Linear(d, a), torch.nn.ReLU(), torch.nn.Linear(a, b), torch.nn.ReLU(), torch.nn.Linear(b, 1)
        )

    run(network(), learn, valid, test, 50, 100)
    epochs_timed = SIZES[d] // 5
    rates = []
    for _ in range(3):
        _, epochs, seconds = run(network(), learn, valid, test, epochs_timed, epochs_timed + 1)
        rates.append(epochs / seconds)
    risk, epochs, seconds = run(network(), learn, valid, test, MAX_EPOCHS, PATIENCE)
    return {"epochs_per_s": max(rates), "stop_epochs": epochs, "stop_seconds": seconds, "risk": risk.tolist()}


def _pycox(net, learn, valid, test, epochs: int, patience: int):
    """pycox as its users train: ``CoxPH.fit`` with its own early stopping."""
    import torchtuples as tt
    from pycox.models import CoxPH

    model = CoxPH(net, tt.optim.Adam(RATE))
    begun = time.perf_counter()
    log = model.fit(
        learn["x"], (learn["time"], learn["event"]), batch_size=len(learn["x"]), epochs=epochs, verbose=False,
        callbacks=[tt.callbacks.EarlyStopping(patience=patience)],
        val_data=(valid["x"], (valid["time"], valid["event"])),
    )  # fmt: skip
    return model.predict(test["x"])[:, 0], len(log.to_pandas()), time.perf_counter() - begun


def _torchsurv(net, learn, valid, test, epochs: int, patience: int):
    """torchsurv is a loss without a training loop: the plainest one in torch."""
    import torch
    from torchsurv.loss.cox import neg_partial_log_likelihood

    tensors = [[torch.from_numpy(p[k]) for k in ("x", "time", "event")] for p in (learn, valid)]

    def loss(part):
        x, duration, event = part
        return neg_partial_log_likelihood(net(x), event.bool(), duration)

    optimizer = torch.optim.Adam(net.parameters(), lr=RATE)
    best, best_epoch, kept = np.inf, 0, None
    begun = time.perf_counter()
    for epoch in range(epochs):
        optimizer.zero_grad()
        loss(tensors[0]).backward()
        optimizer.step()
        with torch.no_grad():
            held_out = float(loss(tensors[1]))
        if held_out < best:
            best, best_epoch = held_out, epoch
            kept = {k: v.clone() for k, v in net.state_dict().items()}
        if epoch - best_epoch >= patience:
            break
    seconds = time.perf_counter() - begun
    net.load_state_dict(kept)
    with torch.no_grad():
        return net(torch.from_numpy(test["x"]))[:, 0].numpy(), epoch + 1, seconds


def environment() -> Path:
    """Python of the environment of the others, made on first use."""
    python = VENV / "bin" / "python"
    if (VENV / ".ready").is_file() and (VENV / ".ready").read_text() == LOCK.read_text():
        return python
    uv = next((p for p in (str(ROOT / ".tools" / "bin" / "uv"), shutil.which("uv")) if p and Path(p).is_file()), None)
    if uv is None:
        raise SystemExit("uv is needed for the environment of pycox and torchsurv; run make env")
    print("installing pycox and torchsurv into build/bench/venv, about 3 GB with what torch brings", flush=True)
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(VENV)], check=True)
    variables = os.environ | {"VIRTUAL_ENV": str(VENV)}
    subprocess.run([uv, "pip", "install", "--quiet", "--require-hashes", "-r", str(LOCK)], check=True, env=variables)
    (VENV / ".ready").write_text(LOCK.read_text())
    return python


def main() -> None:
    if OTHERS:
        print(json.dumps(torch_run(sys.argv[1], int(sys.argv[2]), cohort(int(sys.argv[2])))))
        return
    from analysis_lib.common.files import write_text
    from analysis_lib.survival.survival import c_index

    python = environment()
    names = ("epochs_per_s", "seconds_to_stop", "epochs_to_stop", "test_c_index")
    result: dict[str, dict] = {"patients": 345, "hidden": list(HIDDEN), **{name: {} for name in names}, "ratios": {}}
    for d in SIZES:
        data = cohort(d)
        found = {"analysis_lib": ours(d, data)}
        for framework in ("pycox", "torchsurv"):
            command = [str(python), __file__, framework, str(d)]
            out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[framework] = json.loads(out.splitlines()[-1])
        test = data["part"] == 2
        for framework, row in found.items():
            value = float(c_index(data["time"][test], data["event"][test], np.asarray(row["risk"], float)))
            numbers = row["epochs_per_s"], row["stop_seconds"], row["stop_epochs"], value
            for name, number in zip(names, numbers, strict=True):
                result[name].setdefault(framework, {})[str(d)] = number
    mine = result["epochs_per_s"]["analysis_lib"]
    for framework in ("pycox", "torchsurv"):
        theirs = result["epochs_per_s"][framework]
        result["ratios"][framework] = {d: mine[d] / theirs[d] for d in mine}
    write_text(OUTPUT, json.dumps(result, indent=1) + "\n")
    print(OUTPUT.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
