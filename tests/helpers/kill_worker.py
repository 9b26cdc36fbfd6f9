"""What a killed process was doing: saving, accepting and adding cases, one after the other."""

from multiprocessing.connection import Connection
from pathlib import Path

from small_stores import lungs, volume

from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore


def work(folder: Path, seed: int, told: Connection) -> None:
    """Say each version and case that is certain, until killed."""
    store = CaseStore.open(folder)
    store.case("case_0001")
    told.send(("ready", ""))
    for step in range(10_000):
        labels = lungs(size=1 + step % 5)
        labels[5, 9, :] = (seed + step) % 3
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
