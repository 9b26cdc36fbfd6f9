"""What a killed process was doing, over and over: it says what is certain, until it is killed.

Each action takes the store's folder, a folder of its own, a seed, and the pipe to tell on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from small_stores import lungs, volume

from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import CovsegError

Action = Callable[[Path, Path, int, Connection], None]
FOREVER = 10_000


def drawn(seed: int, step: int) -> np.ndarray:
    """Labels that no other step of any seed has: its number stands in them, in binary."""
    labels = lungs(size=1 + step % 5)
    number = seed * FOREVER + step
    labels[4:6, 9, :] = 2 * np.array([number >> bit & 1 for bit in range(24)]).reshape(2, 12)
    return labels


def save(folder: Path, _: Path, seed: int, told: Connection) -> None:
    """Save corrections and accept them."""
    store = CaseStore.open(folder)
    for step in range(FOREVER):
        labels = drawn(seed, step)
        saved = store.save_version(
            "case_0001",
            labels,
            NewVersion(
                author="A",
                kind=Kind.CORRECTION,
                parent=store.case("case_0001").newest,
                reviewed=[step % 6],
            ),
        )
        told.send(("version", saved.version.id))
        store.accept(saved.version.id, reader="A", whole=True)
        told.send(("accepted", saved.version.id))


def annotate(folder: Path, _: Path, seed: int, told: Connection) -> None:
    """Save corrections, accept every other one, and add cases in between."""
    store = CaseStore.open(folder)
    for step in range(FOREVER):
        labels = drawn(seed, step)
        newest = store.case("case_0001").newest
        saved = store.save_version(
            "case_0001",
            labels,
            NewVersion(author="A", kind=Kind.CORRECTION, parent=newest, reviewed=[step % 6]),
        )
        told.send(("version", saved.version.id))
        if step % 2:
            store.accept(saved.version.id, reader="A", whole=True)
            told.send(("accepted", saved.version.id))
        if step % 3 == 0:
            added = store.add_case(volume(1000 * seed + step + 1), author="A")
            told.send(("case", added.name))


def add(folder: Path, own: Path, seed: int, told: Connection) -> None:
    """Import CTs, from files, with labels."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.io import write_volume
    from napari_covseg.workflows.dataset_add import AddRequest, add_cases

    own.mkdir(exist_ok=True)
    for step in range(FOREVER):
        path = write_volume(volume(1000 * seed + step + 1), own / f"{seed}-{step}.nii.gz")
        store = CaseStore.open(folder)
        (added,) = run_to_end(add_cases(store, AddRequest((path,), "A")))
        told.send(("case", added.case))


def promote(folder: Path, own: Path, seed: int, told: Connection) -> None:
    """Bring models in, make them live, and go back."""
    from napari_covseg.workflows.models import add_model, promote_model

    for step in range(FOREVER):
        store = CaseStore.open(folder)
        model = add_model(store, str(model_in(own, 1000 * seed + step)), author="A")
        told.send(("model", model.sha256))
        promote_model(store, model, by="A", why="because")
        told.send(("live", model.sha256))
        if step % 3 == 2:
            gone = store.rollback(by="A", why="because")
            told.send(("live", gone.model or ""))


def model_in(folder: Path, seed: int) -> Path:
    """A tiny model whose weights are those of the seed."""
    import torch

    from napari_covseg.models.checkpoint import write_checkpoint
    from napari_covseg.models.unet2d import UNet2D
    from napari_covseg.preprocess.recipe import AxialRecipe

    torch.manual_seed(seed)
    made = ("unet2d", {"channels": [4, 8]}, AxialRecipe(pixel_mm=8.0), {"version": "1"})
    home = folder / f"model-{seed}"
    write_checkpoint(home, "tiny", UNet2D((4, 8)), *made)
    return home


def train(_: Path, own: Path, seed: int, told: Connection) -> None:
    """What a training keeps: its state, and the model of the best epoch."""
    import torch

    from napari_covseg.models.checkpoint import write_checkpoint
    from napari_covseg.models.unet2d import UNet2D
    from napari_covseg.preprocess.recipe import AxialRecipe
    from napari_covseg.training.state import write_state

    network = UNet2D((8, 16, 32))
    made = ("unet2d", {"channels": [8, 16, 32]}, AxialRecipe(pixel_mm=8.0))
    for step in range(FOREVER):
        torch.manual_seed(1000 * seed + step)
        for parameter in network.parameters():
            parameter.data.normal_()
        number = 1000 * seed + step
        write_state(own / "state.pt", {"epoch": number, "network": network.state_dict()})
        told.send(("epoch", str(number)))
        write_checkpoint(own, "best", network, *made, {"version": str(number)})
        told.send(("best", str(number)))


def export(folder: Path, own: Path, seed: int, told: Connection) -> None:
    """Write labels, a table, a page and JSON, over those of before."""
    from napari_covseg.io import write_labels
    from napari_covseg.io.atomic import atomic_file, write_json

    store = CaseStore.open(folder)
    own.mkdir(exist_ok=True)
    case = store.case("case_0001")
    for step in range(FOREVER):
        labels = store.labels(case.accepted or case.newest or "")
        for name in ("a.nii.gz", "a.seg.nrrd", "a.mha"):
            write_labels(labels, own / name)
        write_json(own / "a.json", {"step": step, "long": ["x" * 100] * 2000})
        with atomic_file(own / "a.html") as file:
            file.write(b"<html>" + b"x" * 200_000)
            file.write(b"</html>")
        told.send(("exported", str(1000 * seed + step)))


def retrain(folder: Path, own: Path, seed: int, told: Connection) -> None:
    """Whole retrainings of a toy, each resumed if it was cut off; for the long loop only."""
    from toy_stores import SETTINGS, accept, truth

    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.retrain import retrain as run
    from napari_covseg.workflows.retrain_plan import interrupted
    from napari_covseg.workflows.retrain_request import RetrainRequest

    for step in range(FOREVER):
        store = CaseStore.open(folder)
        resume = interrupted(store) is not None
        told.send(("retraining", "on" if resume else "new"))
        asked = RetrainRequest(folder, author="A", settings=SETTINGS, device="cpu", resume=resume)
        try:
            result = run_to_end(run(asked))
            told.send(("model", result.model))
            if result.promoted:
                told.send(("live", result.model))
        except CovsegError as error:
            told.send(("refused", str(error)))
        accept(store, "case_0001", truth(1000 * seed + step))


ACTIONS: Mapping[str, Action] = {
    "save": save,
    "add": add,
    "promote": promote,
    "train": train,
    "export": export,
}
LONG: Mapping[str, Action] = {**ACTIONS, "retrain": retrain}
