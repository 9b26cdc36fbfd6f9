"""Values of DICOM elements, read so that a broken one counts as absent.

Layers are data sets searched in order: a frame's own group, the group all frames share, the root.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Vector = tuple[float, ...]


def first(layers: Sequence[Dataset], name: str, count: int) -> Vector | None:
    """The first layer's ``count`` numbers; None if no layer has them."""
    found = (numbers(layer, name, count) for layer in layers)
    return next((value for value in found if value is not None), None)


def first_number(layers: Sequence[Dataset], name: str) -> float | None:
    """The first layer's number; None if no layer has one."""
    found = first(layers, name, 1)
    return None if found is None else found[0]


def first_text(layers: Sequence[Dataset], name: str) -> str:
    """The first layer's text that is not empty."""
    return next((found for layer in layers if (found := text(layer, name))), "")


def _value(dataset: Dataset, name: str) -> Any:
    try:
        return dataset.get(name)
    except Exception:  # a value that breaks its own type is as good as absent
        return None


def numbers(dataset: Dataset, name: str, count: int) -> Vector | None:
    """The first ``count`` finite numbers of an element; None if it has fewer or breaks its type."""
    value = _value(dataset, name)
    if value is None or value == "":
        return None
    items = [value] if isinstance(value, (str, int, float)) else list(value)
    try:
        found = tuple(float(item) for item in items)
    except (ValueError, TypeError):
        return None
    valid = len(found) >= count and all(map(math.isfinite, found))
    return found[:count] if valid else None


def integer(dataset: Dataset, name: str) -> int | None:
    """A whole number; None if absent or broken."""
    found = numbers(dataset, name, 1)
    return None if found is None else int(found[0])


def text(dataset: Dataset, name: str) -> str:
    """Text without padding; empty if absent or broken."""
    value = _value(dataset, name)
    return "" if value is None else str(value).strip()


def words(dataset: Dataset, name: str) -> tuple[str, ...]:
    """The values of a multi-valued text, upper case."""
    value = _value(dataset, name) or ()
    items = [value] if isinstance(value, str) else value
    return tuple(str(item).strip().upper() for item in items)


def day(dataset: Dataset, *names: str) -> date | None:
    """The first element that holds a date (``20200131``, old files ``2020.01.31``), else None."""
    for name in names:
        digits = text(dataset, name).replace(".", "")[:8]
        try:
            return date.fromisoformat(digits)
        except ValueError:
            continue
    return None
