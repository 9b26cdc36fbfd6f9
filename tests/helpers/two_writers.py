"""What one of several annotators at once does, in a process of its own."""

from multiprocessing.connection import Connection
from pathlib import Path

from small_stores import lungs, volume

from napari_covseg.cases.records import Kind, NewModel, NewVersion, OpenBranches
from napari_covseg.cases.store import CaseStore

ROUNDS = 6


def annotate(folder: Path, author: str, seed: int, told: Connection) -> None:
    """Correct and accept the same case as the others do, add scans, and promote models of their
    own; say what is certain.
    """
    store = CaseStore.open(folder)
    first = store.history("case_0001")[0].id
    told.send(("ready", ""))
    told.recv()
    for step in range(ROUNDS):
        labels = lungs(size=1 + step % 5)
        labels[5, 9, :6] = seed
        labels[5, 9, 6:] = step
        saved = store.save_version(
            "case_0001",
            labels,
            NewVersion(author=author, kind=Kind.CORRECTION, parent=first, reviewed=[5]),
        )
        told.send(("version", saved.version.id))
        beside = [one.id for one in saved.branches]
        for _ in range(50):
            try:
                store.accept(saved.version.id, reader=author, instead_of=beside)
            except OpenBranches:
                beside = [one.id for one in store.branches(saved.version.id)]
            else:
                told.send(("accepted", saved.version.id))
                break
        model = NewModel(f"{seed:032x}{step:032x}", f"m{seed}-{step}", code_version="1")
        store.record_model(model, author=author)
        store.promote(model.sha256, by=author, why="newer")
        told.send(("live", model.sha256))
        if step % 2 == 0:
            told.send(("case", store.add_case(volume(100 * seed + step), author=author).name))
    told.send(("done", ""))
