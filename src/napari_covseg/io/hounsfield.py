"""Are these values Hounsfield units? Judged by the values, never by the data type.

HU of a body spread around 0: air -1000, lung about -850, fat -100, soft tissue 0 to 100, bone
above 300. Grey values of pictures and raw detector values do not go below 0, so they are told by
that; padding (outside the field of view) is far below air and is left out of the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError

AIR_HU = -1024
"""What padding becomes: the lowest value of a 12-bit CT."""
PADDING_BELOW_HU = -1500
"""Lower than any tissue or noise: 8-bit sources of the development data reach down to -1350."""

_SAMPLE_VOXELS = 2_000_000
_FULL_SCALES = (1, 255, 4095)
_SLAB_VOXELS = 2**22


def rescale(stored: NDArray, slope: float = 1.0, inter: float = 0.0) -> NDArray:
    """``stored * slope + inter``: int16 where the result is whole and fits, else float32.

    Whole numbers stay exact; others are computed in float64, slab by slab, so that a volume is
    never held twice in the wider type. NaN and infinity pass through (as float32).
    """
    if _is_whole_step(stored, slope, inter):
        if slope == 1 and inter == 0:
            return np.ascontiguousarray(stored, dtype=np.int16)
        result = stored.astype(np.int32)
        result *= int(slope)
        result += int(inter)
        return result.astype(np.int16)
    scaled = np.empty(stored.shape, dtype=np.float32)
    for slab in _slabs(stored.shape):
        with np.errstate(over="ignore", invalid="ignore"):
            scaled[slab] = stored[slab].astype(np.float64) * slope + inter
    return whole_as_int16(scaled)


def whole_as_int16(values: NDArray) -> NDArray:
    """The same numbers as int16 if that loses nothing, else unchanged."""
    for slab in _slabs(values.shape):
        part = values[slab]
        with np.errstate(invalid="ignore"):
            if not (np.abs(part) <= 32767).all() or (part != np.rint(part)).any():
                return values
    return values.astype(np.int16)


def to_hounsfield(
    values: NDArray, name: str, window: tuple[float, float] | None = None
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """Values that are Hounsfield units, with padding turned to air, and notes for the user.

    Parameters
    ----------
    values
        ``(z, y, x)`` int16 or float32, as `rescale` gives them; may be changed in place.
    name
        The input's name, for messages.
    window
        ``(low, high)`` in HU: what black and white of a windowed picture stand for. The scale of
        the values is 0 to 1, 0 to 255 or 0 to 4095, the smallest that holds them, else their own
        lowest to highest. Values that are HU already are left alone, with a note.

    Raises
    ------
    InputError
        If voxels are NaN or infinite, or the values are not HU and no window is given.
    """
    _check_finite(values, name)
    doubt = why_not_hounsfield(values)
    notes: tuple[str, ...] = ()
    if window is not None:
        if doubt is None:
            notes = ("the values are Hounsfield units already: the window was not used",)
        else:
            values, note = _map_window(values, name, window)
            notes = (note,)
    elif doubt is not None:
        raise InputError(f"{name}: not in Hounsfield units: {doubt}")
    values, padded = clear_padding(values)
    return values, (*notes, *padded)


def clear_padding(
    values: NDArray[np.int16] | NDArray[np.float32],
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """Turn padding to air; in place where the array allows.

    If anything lies below `PADDING_BELOW_HU` the scan is padded, and all below `AIR_HU` (its
    edge, where a resampled file blends padding and air) becomes air. Otherwise nothing changes.
    """
    lowest = values.min()
    if lowest >= PADDING_BELOW_HU:
        return values, ()
    if not values.flags.writeable:
        values = values.copy()
    np.maximum(values, AIR_HU, out=values)
    return values, (f"padding (down to {lowest:g} HU) was set to air ({AIR_HU} HU)",)


def why_not_hounsfield(values: NDArray) -> str | None:
    """Why the values cannot be HU and what to do about it, or None if they can.

    ``values`` is ``(z, y, x)`` and finite, padding included.
    """
    found = _Spread.of(values)
    advice = "give the window the picture was made with: --window LOW HIGH (such as -1350 150)"
    span = f"values go from {found.low:g} to {found.high:g}"
    if found.high > 100_000:
        return f"{span}; expected about -1024 to 3071"
    if found.low == found.high and found.low >= 0:
        return f"all voxels are {found.low:g}"
    if found.low == -128 and found.high == 127:
        return f"{span}, as signed 8-bit grey values do; {advice}"
    if found.high - found.low <= 30 and found.low > -30:
        return f"{span}, as in {_name_of_narrow(values, found)}; {advice}"
    if found.low > -20:
        return f"{span}, none below zero: {_name_of_positive(found, advice)}"
    if found.raw_offset:
        return f"{span}: {_OFFSET}"
    return None


_OFFSET = (
    "this looks like raw grey values with an offset of 1024 (air near 0); "
    "if so, use --window -1024 3071"
)


def _name_of_narrow(values: NDArray, found: _Spread) -> str:
    if values.dtype.kind in "iu" and found.low >= 0:
        return "a label map, not a CT; for a CT in grey values"
    return "a normalised picture"


def _name_of_positive(found: _Spread, advice: str) -> str:
    if found.high <= 255:
        return f"8-bit grey values; {advice}"
    return f"{_OFFSET}; otherwise {advice}" if found.high <= 4200 else f"grey values; {advice}"


@dataclass(frozen=True, slots=True)
class _Spread:
    """What the judgement rests on; ``low`` leaves padding out."""

    low: float
    high: float
    raw_offset: bool

    @classmethod
    def of(cls, values: NDArray) -> _Spread:
        low, high = float(values.min()), float(values.max())
        sample = _sample(values)
        tissue = sample[sample > min(low, -1000) if low <= -1000 else sample >= low]
        unpadded = sample[sample >= PADDING_BELOW_HU]
        if low < PADDING_BELOW_HU and unpadded.size:
            low = float(unpadded.min())
        if tissue.size == 0:
            return cls(low, high, raw_offset=False)
        # In HU, little is denser than 700 (compact bone, metal) and chest or fat lies below -200;
        # with the offset left in, soft tissue stands near 1024 and nothing but padding below 0.
        dense = float(np.mean(tissue > 700))
        airy = float(np.mean((tissue < -200) & (tissue >= PADDING_BELOW_HU)))
        return cls(low, high, raw_offset=dense > 0.15 and airy < 0.02)


def _map_window(
    values: NDArray, name: str, window: tuple[float, float]
) -> tuple[NDArray[np.int16] | NDArray[np.float32], str]:
    low, high = window
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise InputError(f"{name}: the window must be LOW HIGH with LOW < HIGH, got {low} {high}")
    first, last = float(values.min()), float(values.max())
    if first >= 0:
        first, last = 0.0, next((float(top) for top in _FULL_SCALES if last <= top), last)
    if first == last:
        raise InputError(f"{name}: all voxels are {first:g}, there is no picture to map to HU")
    slope = (high - low) / (last - first)
    mapped = rescale(values, slope, low - first * slope)
    note = f"grey values {first:g} to {last:g} were mapped to {low:g} to {high:g} HU"
    return mapped, note


def _check_finite(values: NDArray, name: str) -> None:
    if values.dtype.kind != "f":
        return
    bad = sum(int((~np.isfinite(values[slab])).sum()) for slab in _slabs(values.shape))
    if bad:
        voxels = "1 voxel is" if bad == 1 else f"{bad} voxels are"
        raise InputError(
            f"{name}: {voxels} NaN or infinite; expected a CT in Hounsfield units, so replace "
            f"them (outside the body by {AIR_HU})"
        )


def _is_whole_step(stored: NDArray, slope: float, inter: float) -> bool:
    """Whether integers stay integers, and fit int16."""
    if stored.dtype.kind not in "iu" or slope != int(slope) or inter != int(inter):
        return False
    ends = [int(stored.min()) * slope + inter, int(stored.max()) * slope + inter]
    return min(ends) >= -32768 and max(ends) <= 32767


def _sample(values: NDArray) -> NDArray:
    """At most about two million voxels, evenly spread."""
    step = max(1, round((values.size / _SAMPLE_VOXELS) ** (1 / 3)))
    part = values[tuple(slice(None, None, step if n > 3 * step else 1) for n in values.shape)]
    return part.reshape(-1)


def _slabs(shape: tuple[int, ...]) -> list[slice]:
    thick = max(1, _SLAB_VOXELS // max(1, int(np.prod(shape[1:]))))
    return [slice(start, start + thick) for start in range(0, shape[0], thick)]
