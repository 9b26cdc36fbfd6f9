"""Stored voxels of slices to Hounsfield units, each slice in its place of one array."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from math import prod
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.io.bounds import check_fits
from napari_covseg.io.dicom_header import EXPLICIT_BIG, Frame, Image
from napari_covseg.io.dicom_syntax import FAST_DECODERS, syntax_name
from napari_covseg.io.hounsfield import AIR_HU, PADDING_BELOW_HU

_INT16 = (-32768, 32767)
_TISSUE_HU = (-900.0, 3071.0)
_JPEG_END = b"\xff\xd9"
_JPEG_TAIL = 64

Voxels = NDArray[np.int16] | NDArray[np.float32]


def read_hounsfield(frames: Sequence[Frame]) -> tuple[Voxels, int]:
    """HU of slices of one size, in the order given, and how many held undeclared padding.

    Every slice is rescaled by its own slope and intercept. Padding becomes air (-1024 HU): voxels
    of the header's PixelPaddingValue or range if that lies outside the values of tissue, and, as
    many headers are wrong about it, voxels below -1500 HU (raw -2000 or -2048 outside the field
    of view). In a slice that is padded everything below -1024 HU becomes -1024.

    Returns
    -------
    int16 ``(n, rows, columns)`` where all slopes and intercepts are whole numbers, else float32;
    int16 results are clipped to what fits.

    Raises
    ------
    InputError
        If pixel data is cut off, damaged or compressed in a way that is not decoded.
    """
    image = frames[0].image
    whole = all(float(f.slope).is_integer() and float(f.intercept).is_integer() for f in frames)
    for frame in frames:
        _check_length(frame)
    kind = np.dtype(np.int16 if whole else np.float32)
    shape = (len(frames), image.rows, image.columns)
    check_fits(image.member.name, prod(shape) * kind.itemsize)
    volume = np.empty(shape, kind)
    files: dict[int, list[int]] = defaultdict(list)
    for i, frame in enumerate(frames):
        files[id(frame.image)].append(i)

    def read(places: list[int]) -> int:
        return _read_file([frames[i] for i in places], [volume[i] for i in places])

    workers = min(8, os.cpu_count() or 1)
    if len(files) < 4 or workers == 1:
        return volume, sum(map(read, files.values()))
    with ThreadPoolExecutor(workers) as pool:
        return volume, sum(pool.map(read, files.values()))


def _check_length(frame: Frame) -> None:
    """Refuse what a file cannot hold before memory is set aside for it."""
    image = frame.image
    if image.pixel_offset is None:
        return
    bytes_each = image.rows * image.columns * image.bits_allocated // 8
    wanted = bytes_each * image.frames
    there = max(0, image.member.size - image.pixel_offset)
    if there < wanted:
        raise InputError(
            f"{image.member.name}: the file is cut off: {there} of {wanted} bytes of voxels are "
            "there; copy or export it again"
        )


def _read_file(frames: list[Frame], planes: list[Voxels]) -> int:
    """Fill ``planes`` with slices of one file; how many held undeclared padding."""
    image = frames[0].image
    try:
        if image.pixel_offset is not None and image.bits_allocated == 16:
            with image.member.open_whole() as file:
                return sum(_read_native(file, f, p) for f, p in zip(frames, planes, strict=True))
        return _read_decoded(frames, planes)
    except PermissionError:
        raise InputError(f"{image.member.name}: permission denied, it may not be read") from None
    except OSError as error:
        raise InputError(f"{image.member.name}: could not be read ({error.strerror})") from None


def _read_native(file: BinaryIO, frame: Frame, plane: Voxels) -> int:
    """16-bit voxels straight into their place."""
    image = frame.image
    stored = plane.view(np.int16) if plane.itemsize == 2 else np.empty(plane.shape, np.int16)
    buffer = stored.view(np.uint8).reshape(-1)
    file.seek((image.pixel_offset or 0) + frame.index * stored.nbytes)
    got = 0
    while got < stored.nbytes and (count := file.readinto(buffer[got:])):  # type: ignore[attr-defined]
        got += count
    if got < stored.nbytes:
        raise InputError(f"{image.member.name}: the file changed while it was read; try again")
    if image.syntax == EXPLICIT_BIG:
        stored.byteswap(inplace=True)
    return _rescale(stored if image.signed else stored.view(np.uint16), frame, plane)


def _read_decoded(frames: list[Frame], planes: list[Voxels]) -> int:
    image = frames[0].image
    try:
        stored = _decode(image, [frame.index for frame in frames])
    except (InputError, MemoryError):
        raise
    except Exception:  # decoders raise many kinds on damaged input, all meaning this
        raise InputError(
            f"{image.member.name}: the voxels, compressed as {syntax_name(image.syntax)}, cannot "
            "be decoded: damaged, cut off or not in that format"
        ) from None
    padded = 0
    for frame, plane, values in zip(frames, planes, stored, strict=True):
        if values.shape != plane.shape:
            raise InputError(f"{image.member.name}: the image is not of the size its header says")
        padded += _rescale(values, frame, plane)
    return padded


def _decode(image: Image, indices: list[int]) -> list[NDArray]:
    from pydicom import dcmread

    with image.member.open_whole() as file:
        dataset = dcmread(file, force=True)
    if "TransferSyntaxUID" not in dataset.file_meta:
        dataset.file_meta.TransferSyntaxUID = image.syntax
    if image.syntax in FAST_DECODERS:
        try:
            return _decode_fast(dataset.PixelData, image, indices)
        except (ValueError, RuntimeError):  # what it does not know another decoder may
            pass
    from pydicom.pixels import pixel_array

    single = image.frames == 1
    return [pixel_array(dataset, index=None if single else i) for i in indices]


def _decode_fast(data: bytes, image: Image, indices: list[int]) -> list[NDArray]:
    """The same values as pydicom's decoders give, two to three times as fast."""
    import imagecodecs
    from pydicom.encaps import generate_frames

    decode = getattr(imagecodecs, FAST_DECODERS[image.syntax])
    wanted = set(indices)
    decoded = {}
    for i, frame in enumerate(generate_frames(data, number_of_frames=image.frames)):
        if i not in wanted:
            continue
        if _JPEG_END not in frame[-_JPEG_TAIL:]:  # libjpeg would fill the rest with grey
            raise EOFError
        decoded[i] = decode(frame)
    return [decoded[i] for i in indices]


def _rescale(stored: NDArray, frame: Frame, plane: Voxels) -> int:
    """Stored values to HU in ``plane`` (or its own memory); 1 if padding was undeclared."""
    image = frame.image
    stored = _signed_as_stored(stored, image)
    low, high = int(stored.min()), int(stored.max())
    slope, intercept = frame.slope, frame.intercept
    declared, mask = _declared_padding(stored, frame, low, high)
    if plane.dtype == np.int16:
        _scale_whole(stored, int(slope), int(intercept), (low, high), plane)
    else:
        np.multiply(stored, np.float32(slope), out=plane, casting="unsafe")
        plane += np.float32(intercept)
    lowest = min(slope * low, slope * high) + intercept
    below = lowest < PADDING_BELOW_HU
    if mask is not None:
        plane[mask] = AIR_HU
    if below or declared:
        np.maximum(plane, plane.dtype.type(AIR_HU), out=plane)
    return int(below and not declared)


def _signed_as_stored(stored: NDArray, image: Image) -> NDArray:
    """Extend the sign of two's complement values of fewer bits than their words have.

    JPEG 2000 streams may call the same bits unsigned: what the header says counts. Words that hold
    a negative value are extended already; if others are too large, BitsStored is wrong.
    """
    bits, word = image.bits_stored, 8 * stored.dtype.itemsize
    if not image.signed or stored.dtype.kind == "f":
        return stored
    values = stored.view(np.dtype(f"i{stored.dtype.itemsize}").newbyteorder(stored.dtype.byteorder))
    if bits >= word or values.min() < 0 or int(values.max()) < 1 << (bits - 1):
        return values
    values = values.copy() if not values.flags.writeable else values
    np.left_shift(values, word - bits, out=values)
    np.right_shift(values, word - bits, out=values)
    return values


def _declared_padding(
    stored: NDArray, frame: Frame, low: int, high: int
) -> tuple[bool, NDArray[np.bool_] | None]:
    """Whether the slice holds the header's padding, and where if raising to air does not do.

    A declared value that stands for tissue is not believed.
    """
    if frame.image.padding is None:
        return False, None
    first, last = frame.image.padding
    in_hu = sorted((first * frame.slope + frame.intercept, last * frame.slope + frame.intercept))
    if last < low or first > high or (in_hu[1] > _TISSUE_HU[0] and in_hu[0] < _TISSUE_HU[1]):
        return False, None
    mask = (stored >= first) & (stored <= last) if first != last else stored == first
    if not mask.any():
        return False, None
    return True, None if in_hu[1] <= AIR_HU else mask


def _scale_whole(
    stored: NDArray, slope: int, intercept: int, limits: tuple[int, int], plane: Voxels
) -> None:
    """``stored * slope + intercept`` clipped to int16; in place where nothing can overflow."""
    ends = sorted((limits[0] * slope + intercept, limits[1] * slope + intercept))
    fits = ends[0] >= _INT16[0] and ends[1] <= _INT16[1]
    if (
        fits
        and slope == 1
        and limits[0] >= -32768
        and limits[1] <= 32767
        and abs(intercept) < 32768
    ):
        if stored.dtype.byteorder == ">" or stored.dtype.itemsize != 2:
            plane[...] = stored
        elif not np.may_share_memory(stored, plane):
            plane[...] = stored.view(np.int16)
        np.add(plane, np.int16(intercept), out=plane)
        return
    wide = stored.astype(np.int64)
    np.multiply(wide, slope, out=wide)
    np.add(wide, intercept, out=wide)
    np.clip(wide, *_INT16, out=plane, casting="unsafe")
