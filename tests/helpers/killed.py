"""Kill a process at a random moment of what it does, and look at what is left."""

from __future__ import annotations

import json
import multiprocessing
import random
import shutil
import time
from pathlib import Path
from typing import Any

from kill_actions import Action

from napari_covseg.cases.store import CaseStore
from napari_covseg.io.labels import read_labels

Told = list[tuple[str, str]]
_PRELOAD = ["napari_covseg.cases.store", "napari_covseg.models.checkpoint"]
_PRELOAD += ["napari_covseg.training.state", "napari_covseg.workflows.models", "nibabel"]


def killing_context() -> Any:
    """Processes that start in no time, with the package loaded, where the system can do that."""
    forks = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if forks else "spawn")
    if forks:
        context.set_forkserver_preload(_PRELOAD)
    return context


def until_killed(
    context: Any, work: Action, store: Path, own: Path, seed: int, rng: random.Random
) -> Told:
    """What the process said before it was killed, at a random moment of what it did next."""
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=work, args=(store, own, seed, theirs), daemon=True)
    process.start()
    theirs.close()
    told: Told = [ours.recv()]
    started = time.monotonic()
    steps = rng.randint(1, 3)
    told += [ours.recv() for _ in range(steps)]
    time.sleep(rng.uniform(0, 1.5 * (time.monotonic() - started) / steps))
    process.kill()
    process.join()
    try:
        while True:
            told.append(ours.recv())
    except EOFError:
        return told


def check_store(folder: Path, told: Told) -> None:
    """Nothing that was told is lost, every file is what the index says, the live model is whole."""
    from napari_covseg.models.zoo import load
    from napari_covseg.workflows.store_models import live_hash, model_source

    store = CaseStore.open(folder)
    history = [one for history in store.histories().values() for one in history]
    first = [one.number for one in store.history("case_0001")]
    assert first == list(range(1, len(first) + 1))
    assert {what for kind, what in told if kind == "version"} <= {one.id for one in history}
    assert {what for kind, what in told if kind == "case"} <= {one.name for one in store.cases()}
    assert {what for kind, what in told if kind == "model"} <= {m.sha256 for m in store.models()}
    assert [problem for problem in store.verify() if not problem.harmless] == []
    for case in store.cases():
        if case.accepted is not None:
            written = read_labels(store.labels_path(case.name)).labels
            kept = store.labels(case.accepted).labels
            assert all((written[z] == kept[z]).all() for z in case.accepted_slices)
    live = store.live_model()
    if live is not None:
        assert load(model_source(store, live.sha256)).sha256 == live_hash(store)
    promoted = {one.model for one in store.promotions()}
    assert {what for kind, what in told if kind == "live" and what} <= promoted


def check_training(own: Path, told: Told) -> None:
    """The state and the model on disk are whole, and no older than what was told."""
    from napari_covseg.models.zoo import load
    from napari_covseg.training.state import read_state, remove_unfinished

    newest = max(int(what) for kind, what in told if kind in ("epoch", "best"))
    state = read_state(own / "state.pt")
    assert newest <= state["epoch"] <= newest + 1
    remove_unfinished(own / "state.pt")
    best = [int(what) for kind, what in told if kind == "best"]
    if best:
        assert int(load(own / "best.json").version) >= max(best)


def check_exports(own: Path) -> None:
    """What has its final name is whole."""
    labels = [read_labels(own / name).labels for name in ("a.nii.gz", "a.seg.nrrd", "a.mha")]
    assert all((one == labels[0]).all() for one in labels)
    assert len(json.loads((own / "a.json").read_text())["long"]) == 2000
    assert (own / "a.html").read_bytes().endswith(b"</html>")
    names = {p.name for p in own.iterdir() if not p.name.startswith(".")}
    assert names == {"a.nii.gz", "a.seg.nrrd", "a.mha", "a.json", "a.html"}


def fresh(folder: Path) -> Path:
    """An empty folder of that name."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
