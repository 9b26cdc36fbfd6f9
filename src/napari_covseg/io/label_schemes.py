"""How the numbers of other label schemes become ours: ``--label-map`` and ``dataset.json``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.domain.labels import SCHEME_NAMES, Label, label_by_name
from napari_covseg.io.inputs import LABEL_ENDINGS, case_name

_EXAMPLE = "lung=1,infection=2+3"
_SHOWN = 10


def parse_label_map(text: str) -> dict[int, Label]:
    """What ``NAME=ID[+ID],...`` says each number in a file means, such as ``lung=1,ggo=2+3``.

    Raises
    ------
    UsageError
        If a name is not known, a number is not one, or a number is given twice.
    """
    mapping: dict[int, Label] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, equals, numbers = part.partition("=")
        label = _label(name)
        if not equals or not numbers.strip():
            raise UsageError(f"label map {part!r}: expected NAME=ID, such as {_EXAMPLE}")
        for number in numbers.split("+"):
            value = _number(number, part)
            if mapping.setdefault(value, label) is not label:
                raise UsageError(f"label map: {value} is given two meanings")
    if not mapping:
        raise UsageError(f"the label map is empty: expected NAME=ID, such as {_EXAMPLE}")
    return mapping


def dataset_label_map(path: Path) -> dict[int, Label] | None:
    """The scheme of an nnU-Net dataset, from the ``dataset.json`` a label file belongs to.

    It lies beside the file, or above a folder called ``labels...``. Results written here
    (``*_labels``) are in our own scheme wherever they lie. None where no labels are described.

    Raises
    ------
    InputError
        If it cannot be read or names a label that is not known.
    """
    if case_name(path).endswith(LABEL_ENDINGS[0]):
        return None
    folders = [path.parent]
    if path.parent.name.lower().startswith("labels"):
        folders.append(path.parent.parent)
    for folder in folders:
        file = folder / "dataset.json"
        if file.is_file():
            return _from_dataset(file)
    return None


def apply_label_map(
    values: NDArray, mapping: Mapping[int, Label] | None, name: str
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Numbers of a file to our labels; without a mapping they must be ours already.

    Notes tell which numbers became background, as another scheme's pleural effusion does.

    Raises
    ------
    InputError
        If values are not whole numbers, or some have no meaning (they are listed).
    """
    whole = _as_whole(values, name)
    low, high = int(whole.min()), int(whole.max())
    present = _present(whole, low, high)
    known = {int(label): label for label in Label} if mapping is None else dict(mapping)
    known.setdefault(0, Label.BACKGROUND)
    unknown = [value for value in present if value not in known]
    if unknown:
        _refuse(name, unknown, mapping)
    if all(value == known[value] for value in present):
        return np.ascontiguousarray(whole, dtype=np.uint8), ()
    table = np.zeros(high + 1 - min(low, 0), dtype=np.uint8)
    for value in present:
        table[value] = known[value]
    dropped = [value for value in present if value and known[value] == 0]
    notes = tuple(f"label {value} of the file counts as background" for value in dropped)
    mapped = np.empty(whole.shape, dtype=np.uint8)
    for plane, numbers in zip(mapped, whole, strict=True):
        plane[...] = table[numbers]
    return mapped, notes


def _present(whole: NDArray, low: int, high: int) -> list[int]:
    """The values that occur. Plane by plane, as counting and sorting copy to 8 bytes a voxel."""
    if low >= 0 and high < 2**16:
        counts = np.zeros(high + 1, dtype=np.int64)
        for plane in whole:
            counts += np.bincount(plane.reshape(-1).astype(np.intp), minlength=high + 1)
        return [int(value) for value in np.flatnonzero(counts)]
    found: set[int] = set()
    for plane in whole:
        found.update(np.unique(plane).tolist())
    return sorted(found)


def _refuse(name: str, unknown: list[int], mapping: Mapping[int, Label] | None) -> None:
    listed = ", ".join(map(str, unknown[:_SHOWN])) + (", ..." if len(unknown) > _SHOWN else "")
    given = "0 to 7" if mapping is None else ", ".join(map(str, sorted(mapping)))
    raise InputError(
        f"{name}: label values {listed} have no known meaning (known: {given}); say what they are "
        f"with --label-map NAME=ID,... such as {_EXAMPLE}"
    )


def _as_whole(values: NDArray, name: str) -> NDArray:
    if values.dtype.kind in "iu":
        return values
    whole = np.empty(values.shape, dtype=np.int32)
    for plane, numbers in zip(whole, values, strict=True):
        with np.errstate(invalid="ignore"):
            if not np.isfinite(numbers).all() or (numbers != np.rint(numbers)).any():
                raise InputError(f"{name}: not a label map: its values are not whole numbers")
            if np.abs(numbers).max() >= 2**31:
                raise InputError(f"{name}: not a label map: its values are too large")
        plane[...] = numbers
    return whole


def _from_dataset(file: Path) -> dict[int, Label] | None:
    try:
        labels = json.loads(file.read_text(encoding="utf-8")).get("labels")
    except (OSError, ValueError, AttributeError, RecursionError):
        raise InputError(f"{file.name}: could not be read as JSON") from None
    if not isinstance(labels, dict) or not labels:
        return None
    # Regions of nnU-Net nest ({"lung": [1, 2], "infection": [2]}): the innermost says what a value
    # is, and that is the one of the fewest values.
    regions: dict[int, list[tuple[int, Label]]] = {}
    for name, numbers in labels.items():
        # nnU-Net v1 wrote {"1": "lung"}, v2 writes {"lung": 1} or, for regions, {"lung": [1, 2]}.
        if isinstance(numbers, str):
            name, numbers = numbers, name
        values = numbers if isinstance(numbers, list) else [numbers]
        for value in values:
            region = (len(values), _dataset_label(name, file))
            regions.setdefault(_dataset_number(value, file), []).append(region)
    return {value: _innermost(value, found, file) for value, found in regions.items()}


def _innermost(value: int, regions: list[tuple[int, Label]], file: Path) -> Label:
    fewest = min(size for size, _ in regions)
    labels = sorted({label for size, label in regions if size == fewest})
    if len(labels) > 1:
        titles = " and ".join(label.title for label in labels)
        raise InputError(
            f"{file.name}: value {value} is given several meanings ({titles}); say what it is with "
            f"--label-map, such as {_EXAMPLE}"
        )
    return labels[0]


def _dataset_number(value: object, file: Path) -> int:
    if isinstance(value, int) or (isinstance(value, str) and value.isdecimal()):
        return int(value)
    raise InputError(f"{file.name}: its labels are damaged: {value!r} is not a number")


def _dataset_label(name: str, file: Path) -> Label:
    try:
        return label_by_name(name)
    except KeyError:
        raise InputError(
            f"{file.name}: label {name!r} is not known; say what it is with --label-map, such as "
            f"{_EXAMPLE}"
        ) from None


def _label(name: str) -> Label:
    try:
        return label_by_name(name)
    except KeyError:
        known = ", ".join(sorted(SCHEME_NAMES))
        raise UsageError(
            f"label map: {name.strip()!r} is not known; expected one of {known}"
        ) from None


def _number(text: str, part: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise UsageError(f"label map {part!r}: {text.strip()!r} is not a whole number") from None
    if value < 0:
        raise UsageError(f"label map {part!r}: {value} is negative")
    return value
