"""Pictures for classification: one file each, PNG, JPEG or DICOM, as grey from 0 to 1.

How a file becomes grey, always in the same way:

- colour: luminance 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601); what is transparent lies on black;
- 16-bit: divided by 255, 1023, 4095, 16383 or 65535, the least that holds its greatest value,
  since 10- to 14-bit pictures are stored in 16 bits;
- DICOM: rescaled, through the VOI LUT or window of its header, MONOCHROME1 turned so that bright is
  dense. A slice of modality CT is windowed as the shipped network sees it, -1350 to 150 HU.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.errors import InputError
from napari_covseg.io.bounds import check_deflated
from napari_covseg.io.dicom_values import numbers
from napari_covseg.io.sniff import readable

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
CT_WINDOW_HU = (-1350.0, 150.0)
LEAST_SIDE = 16
MOST_PIXELS = 64_000_000
"""More than any X-ray: scanned films have up to 50 million."""
_ROWS = 256
_EXPECTED = "expected a picture as PNG, JPEG or DICOM"
_LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
_DEPTHS = (8, 10, 12, 14, 16)


@dataclass(frozen=True, eq=False, slots=True)
class Picture:
    """A picture as grey levels.

    ``grey`` is float32 ``(y, x)`` in [0, 1], ``format`` is PNG, JPEG or DICOM, ``warnings`` are
    plain sentences.
    """

    grey: NDArray[np.float32]
    format: str
    warnings: tuple[str, ...] = ()


def read_picture(path: Path) -> Picture:
    """Read a picture, whatever its name says it is.

    Raises
    ------
    InputError
        If it is none, is damaged, has several frames, or is smaller than 16 pixels.
    """
    with readable(path), path.open("rb") as file:
        head = file.read(256)
    if not head:
        raise InputError(f"{path.name}: the file is empty (0 bytes)")
    kind = picture_format(head)
    if kind == "" and not _is_dicom(path):
        raise InputError(f"{path.name}: {_what_else(path, head)}; {_EXPECTED}")
    grey = _read_dicom(path) if kind == "" else _read_coded(path, kind)
    if min(grey.shape) < LEAST_SIDE:
        height, width = grey.shape
        raise InputError(
            f"{path.name}: {width} x {height} pixels are too few; expected at least "
            f"{LEAST_SIDE} a side"
        )
    flat = ("The picture has one grey level only: nothing can be told from it.",)
    return Picture(grey, kind or "DICOM", flat if float(np.ptp(grey)) == 0 else ())


def picture_format(head: bytes) -> str:
    """PNG or JPEG by a file's first bytes, else empty."""
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    return "JPEG" if head.startswith(b"\xff\xd8\xff") else ""


def is_picture(path: Path) -> bool:
    """Whether a file is PNG, JPEG, or DICOM of one projection (CR, DX and the like, not CT)."""
    with readable(path), path.open("rb") as file:
        kind = picture_format(file.read(16))
    return bool(kind) or (_is_dicom(path) and _modality(path) not in ("CT", "MR", "PT", "SEG", ""))


def find_pictures(paths: Iterable[str | Path]) -> Iterator[Path]:
    """The picture files of files and folders, one by one; folders are walked, names sorted.

    Files are passed on as they are. In folders a picture is told by its name (`PICTURE_SUFFIXES`,
    `DICOM_SUFFIXES`), or, without a suffix, by being DICOM; hidden files are left out. No more than
    the names of one folder are held at a time.

    Raises
    ------
    InputError
        If a path does not exist, or a folder may not be read.
    """
    for path in map(Path, paths):
        with readable(path):
            if not path.exists():
                raise FileNotFoundError
        yield from walk_pictures(path) if path.is_dir() else (path,)


def walk_pictures(folder: Path) -> Iterator[Path]:
    """The picture files in a folder and its subfolders, names sorted; see `find_pictures`."""
    with readable(folder), os.scandir(folder) as entries:
        shown = [(entry.name, entry.is_dir()) for entry in entries if entry.name[0] != "."]
    for name, is_folder in sorted(shown):
        path = folder / name
        if is_folder:
            yield from walk_pictures(path)
        elif _named_as_picture(path):
            yield path


def content_hash(path: Path) -> str:
    """SHA-256 of a file's bytes: pictures that are copies of one another have the same."""
    with readable(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _named_as_picture(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES or suffix in DICOM_SUFFIXES:
        return True
    return suffix == "" and path.name.upper() != "DICOMDIR" and _is_dicom(path)


def _is_dicom(path: Path) -> bool:
    from napari_covseg.io.dicom import is_dicom

    return is_dicom(path)


def _what_else(path: Path, head: bytes) -> str:
    """What a file that is no picture seems to be."""
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        # A character may be cut in two at the end of what was read.
        text = head[: error.start].decode() if error.start > len(head) - 4 else "\x00"
    if all(c.isprintable() or c.isspace() for c in text):
        named = path.suffix.lower().lstrip(".")
        return f"holds text though its name ends in .{named}" if named else "holds text"
    return "not a picture that is read, or damaged"


def _read_coded(path: Path, kind: str) -> NDArray[np.float32]:
    from PIL import Image, ImageOps

    from napari_covseg.io.dicom_files import quiet_pydicom

    try:
        # Pillow's remark on large pictures is for developers; our own limit is lower.
        with quiet_pydicom(), Image.open(path, formats=(kind,)) as image:
            if image.width * image.height > MOST_PIXELS:
                raise Image.DecompressionBombError
            if getattr(image, "n_frames", 1) > 1:
                raise InputError(f"{path.name}: holds several frames; {_EXPECTED} of one frame")
            return _grey(ImageOps.exif_transpose(image))
    except (InputError, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise InputError(
            f"{path.name}: has more pixels than any X-ray or slice; scale it down"
        ) from None
    except Exception:  # decoders raise many kinds on damaged input, all meaning this
        raise InputError(f"{path.name}: damaged or cut off; {_EXPECTED}") from None


def _grey(image: Any) -> NDArray[np.float32]:
    """A picture of Pillow as grey."""
    if image.mode in ("L", "1"):
        return np.asarray(np.asarray(image.convert("L"), np.float32) / np.float32(255), np.float32)
    if image.mode.startswith("I") or image.mode == "F":
        return scaled_by_depth(np.asarray(image))
    # Palettes and CMYK too; alpha multiplies, as over black.
    coloured = np.asarray(image.convert("RGBA"))
    grey = np.empty(coloured.shape[:2], np.float32)
    for top in range(0, len(grey), _ROWS):
        rgba = coloured[top : top + _ROWS].astype(np.float32) / 255
        grey[top : top + _ROWS] = (rgba[..., :3] @ _LUMINANCE) * rgba[..., 3]
    return grey


def scaled_by_depth(stored: NDArray) -> NDArray[np.float32]:
    """Whole numbers from 0 as a fraction of the greatest that their depth (8 to 16 bits) holds."""
    greatest = int(stored.max(initial=0))
    top = next((2**bits - 1 for bits in _DEPTHS if greatest < 2**bits), max(greatest, 1))
    return np.asarray(np.clip(stored / np.float32(top), 0, 1), np.float32)


def _read_dicom(path: Path) -> NDArray[np.float32]:
    from pydicom import dcmread

    from napari_covseg.io.dicom_files import quiet_pydicom

    try:
        with readable(path), quiet_pydicom():
            with path.open("rb") as file:
                check_deflated(file, path.name)
                dataset = dcmread(file, force=True)
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise InputError(f"{path.name}: holds several frames; {_EXPECTED} of one frame")
            _name_syntax(dataset)
            return _dicom_grey(dataset)
    except (InputError, MemoryError):
        raise
    except Exception:  # as above; the message may quote the header, patient data included
        raise InputError(
            f"{path.name}: the pixels of this DICOM file cannot be read: damaged, cut off, or "
            "packed in a way that is not decoded"
        ) from None


def _name_syntax(dataset: Dataset) -> None:
    """Old files without file meta say by their elements alone how they are encoded."""
    from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, _ = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        dataset.file_meta.TransferSyntaxUID = syntax


def _dicom_grey(dataset: Dataset) -> NDArray[np.float32]:
    from pydicom.pixels.processing import apply_modality_lut, convert_color_space

    stored = dataset.pixel_array
    photometric = str(dataset.get("PhotometricInterpretation", "MONOCHROME2")).upper()
    if stored.ndim == 3:
        if photometric.startswith("YBR"):
            stored = convert_color_space(stored, photometric, "RGB")
        return np.asarray(scaled_by_depth(stored) @ _LUMINANCE, np.float32)
    values = apply_modality_lut(stored, dataset)
    if dataset.get("Modality") == "CT":
        return _stretched(values, *CT_WINDOW_HU)
    grey = _windowed(values, stored, dataset)
    return np.float32(1) - grey if photometric == "MONOCHROME1" else grey


def _windowed(values: NDArray, stored: NDArray, dataset: Dataset) -> NDArray[np.float32]:
    """Through the header's LUT or first window; without one from the 1st to the 99th percentile."""
    from pydicom.pixels.processing import apply_voi_lut

    if dataset.get("VOILUTSequence"):
        shown = apply_voi_lut(values, dataset)
        return _stretched(shown, 0, 2 ** int(dataset.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    centre, width = (numbers(dataset, f"Window{name}", 1) for name in ("Center", "Width"))
    if centre is None or width is None or not width[0] >= 1:
        low, high = np.percentile(_image_part(values, stored, dataset), (1, 99))
        return _stretched(values, float(low), float(high))
    if dataset.get("VOILUTFunction") == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(-4 * (values - centre[0]) / width[0])), np.float32)
    # DICOM PS3.3 C.11.2.1.2.1, with its half grey level.
    half = max(width[0] - 1, 1e-6) / 2
    return _stretched(values, centre[0] - 0.5 - half, centre[0] - 0.5 + half)


def _image_part(values: NDArray, stored: NDArray, dataset: Dataset) -> NDArray:
    """The values that are no padding."""
    padding = dataset.get("PixelPaddingValue")
    kept = values[stored != padding] if padding is not None else values
    return kept if kept.size else values


def _stretched(values: NDArray, low: float, high: float) -> NDArray[np.float32]:
    width = high - low if high > low else 1.0
    return np.asarray(np.clip((values - low) / width, 0, 1), np.float32)


def _modality(path: Path) -> str:
    from pydicom import dcmread

    from napari_covseg.io.dicom_files import quiet_pydicom

    with readable(path), quiet_pydicom():
        dataset = dcmread(path, force=True, specific_tags=["Modality"], stop_before_pixels=True)
        return str(dataset.get("Modality", "")).upper()
