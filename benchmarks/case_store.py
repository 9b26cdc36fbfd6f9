"""How long the case store takes for a whole scan, against a plain ``.nii.gz`` of the same labels.

``python -m benchmarks.case_store``; seconds of the processor, the best of some turns, so that a
busy machine changes little. The plain write is nibabel's, of the same array and compression.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from benchmarks.common import Row, machine
from napari_covseg.cases.records import Kind, LabelVersion, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.io import make_phantom

TURNS = 3


def store_rows(slices: int, size: int, folder: Path) -> list[Row]:
    """Saving, reading, accepting and checking one case of ``slices`` by ``size`` by ``size``."""
    phantom = make_phantom(
        shape=(slices, size, size), spacing_mm=(300.0 / slices, 360.0 / size, 360.0 / size)
    )
    labels = phantom.labels.labels
    store = CaseStore.create(folder / "store", author="B")
    case = store.add_case(phantom.volume, author="B").name
    model = hashlib.sha256(b"none").hexdigest()
    first = store.save_version(
        case, labels, NewVersion(author="B", kind=Kind.PREDICTION, model=model)
    ).version
    newest = [first]

    def save() -> None:
        turn = len(newest)
        drawn = labels.copy()
        drawn[slices // 2, turn, :8] = 3
        saved = store.save_version(
            case,
            drawn,
            NewVersion(
                author="B", kind=Kind.CORRECTION, parent=newest[-1].id, reviewed=range(slices)
            ),
        )
        newest.append(saved.version)

    plain = folder / "plain.nii.gz"
    image = nib.Nifti1Image(np.ascontiguousarray(labels.transpose(2, 1, 0)), np.eye(4))
    write = _seconds(lambda: nib.save(image, plain))
    read = _seconds(lambda: np.asarray(nib.load(plain).dataobj).sum())
    files = sum(file.stat().st_size for file in store.folder.rglob("*.nii.gz"))
    measured = (
        ("a version saved (parent read, differences counted, hashed)", _seconds(save), write),
        ("a version read (hash checked)", _seconds(lambda: store.labels(newest[-1].id)), read),
        (
            "a version accepted (read, checked, written again)",
            _seconds(_accept(store, newest)),
            write,
        ),
        ("every file checked", _seconds(store.verify), None),
    )
    what = f"{size}x{size}x{slices}"
    rows = [
        Row(f"{what}: labels written by nibabel", f"{write:.2f} s"),
        Row(f"{what}: labels read by nibabel", f"{read:.2f} s"),
    ]
    for text, seconds, against in measured:
        ratio = f", {seconds / against:.1f} times" if against else f" for {files / 1e6:.0f} MB"
        rows.append(Row(f"{what}: {text}", f"{seconds:.2f} s{ratio}"))
    return rows


def _accept(store: CaseStore, newest: list[LabelVersion]) -> Callable[[], object]:
    return lambda: store.accept(newest[-1].id, reader="B")


def _seconds(work: Callable[[], object]) -> float:
    """Of the processor, in the best of some turns."""
    best = float("inf")
    for _ in range(TURNS):
        begun = time.process_time()
        work()
        best = min(best, time.process_time() - begun)
    return best


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--size", type=int, default=512)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = store_rows(args.slices, args.size, Path(folder))
    print(machine())
    print("\n".join(row.markdown() for row in rows))


if __name__ == "__main__":
    main()
