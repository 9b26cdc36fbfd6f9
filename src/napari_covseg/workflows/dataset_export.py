"""Take cases out of a store: as an nnU-Net dataset, or one label map for another program."""

from __future__ import annotations

import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from napari_covseg.cases import derived
from napari_covseg.cases.records import CaseRecord, LabelVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.errors import InputError, ResourceError, UsageError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.write import write_labels

_OTHERS = ("imagesTs", "labelsTs")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: cases with accepted labels, and others."""

    folder: Path
    accepted: tuple[str, ...]
    others: tuple[str, ...]


def export_dataset(store: CaseStore, output: Path, *, everything: bool = False) -> Steps[Exported]:
    """Write an nnU-Net v2 raw dataset that is independent of the store; whole or not at all.

    Accepted cases become training cases. With ``everything`` the others go to ``imagesTs``, where
    nnU-Net expects what has no reference, their newest labels to ``labelsTs``: they were not
    accepted, so nothing should learn from them unasked.

    Raises
    ------
    UsageError
        If something is in the output folder already.
    InputError
        If no case is accepted, or a label file is missing or was changed.
    ResourceError
        If the disk is full or the folder cannot be written to.
    """
    cases = [case for case in store.cases() if everything or case.accepted is not None]
    if not cases:
        raise InputError(
            f"{store.folder.name}: no case is accepted yet, so there is nothing to export (--all "
            "takes the others too)"
        )
    output = output.absolute()
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(f"{output.name}: is there already; --output expects a new or empty folder")
    coming = output.with_name(f".{output.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            for number, case in enumerate(cases):
                yield Progress(number, len(cases), f"writing {case.name}")
                _write_case(store, case, coming)
            _write_tables(cases, coming)
            if output.exists():
                output.rmdir()
            coming.rename(output)
        except OSError as error:
            raise ResourceError(
                f"{output.name}: cannot be written ({error.strerror}); nothing was exported"
            ) from None
    finally:
        shutil.rmtree(coming, ignore_errors=True)
    yield Progress(len(cases), len(cases), "done")
    return Exported(
        output,
        tuple(case.name for case in cases if case.accepted),
        tuple(case.name for case in cases if not case.accepted),
    )


def export_labels(store: CaseStore, case: str, output: Path, *, version: int | None = None) -> Path:
    """Write one label map of a case; the format follows the name (`write_labels`).

    Without ``version`` (its number) the accepted one is taken, else the newest.

    Raises
    ------
    InputError
        If there is no such case or version, or its file was changed.
    UsageError
        If the name tells no format.
    ResourceError
        If it cannot be written.
    """
    return write_labels(store.labels(find_version(store, case, version).id), output)


def find_version(store: CaseStore, case: str, number: int | None = None) -> LabelVersion:
    """A version of a case by its number; without one the accepted, else the newest.

    Raises
    ------
    InputError
        If there is none.
    """
    record = store.case(case)
    chosen = record.accepted or record.newest
    if number is None and chosen is not None:
        return store.version(chosen)
    for version in store.history(case):
        if version.number == number:
            return version
    held = f"it has 1 to {record.versions}" if record.versions else "it has none yet"
    told = "no label version" if number is None else f"no version {number}"
    raise InputError(f"{case}: {told}; {held}")


def _write_case(store: CaseStore, case: CaseRecord, folder: Path) -> None:
    images, labels = (derived.IMAGES, derived.LABELS) if case.accepted else _OTHERS
    for inner in (images, labels):
        (folder / inner).mkdir(parents=True, exist_ok=True)
    source = store.image_path(case.name)
    if not source.is_file():
        raise InputError(f"{source.name}: missing from the store; covseg dataset verify tells more")
    shutil.copyfile(source, folder / images / source.name)
    chosen = case.accepted or case.newest
    if chosen is not None:
        found = store.labels(chosen)
        if case.accepted:
            found = derived.with_ignore(found, case.accepted_slices)
        write_labels(found, folder / labels / store.labels_path(case.name).name)


def _write_tables(cases: list[CaseRecord], folder: Path) -> None:
    derived.write_about(folder, [case.name for case in cases if case.accepted], listed=False)
    derived.write_patients(folder, {case.name: case.patient for case in cases})
