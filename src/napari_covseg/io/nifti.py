"""NIfTI-1 and NIfTI-2, plain or gzip, by content: voxels with an LPS affine.

Orientation comes from the sform if its code is set, else from the qform. A file with neither is
refused: which side is left would be a guess.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine, Shape, ras_to_lps
from napari_covseg.io.raw import RawImage, check_size, native_geometry, to_canonical
from napari_covseg.io.sniff import readable
from napari_covseg.io.stored import Inflater, read_voxels

if TYPE_CHECKING:
    from nibabel.nifti1 import Nifti1Header

_HEADER_1, _HEADER_2 = 348, 540
_MOST_OFFSET = 2**24
_PACKED_BY = 1032
"""Deflate cannot pack more than this many bytes into one."""
_DISAGREE_MM = 0.5
_MM_PER_UNIT = {1: 1000.0, 3: 0.001}


def read_nifti(path: Path) -> RawImage:
    """The stored voxels, their scaling and their grid.

    Raises
    ------
    InputError
        If the file is damaged, truncated, not 3D, colour or complex, or has no orientation.
    """
    with readable(path), path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        stream = Inflater(file) if packed else file
        start = _start(path.name, stream)
        header = _header(path.name, start)
        shape, dtype, offset = _layout(path.name, header)
        size = path.stat().st_size
        check_size(path.name, shape, dtype.itemsize, size * _PACKED_BY if packed else size - offset)
        if not header.sizeof_hdr <= offset <= _MOST_OFFSET:
            raise InputError(f"{path.name}: its NIfTI header is damaged (data offset {offset})")
        if packed:
            stream.read(offset - len(start))
        else:
            file.seek(offset)
        values = read_voxels(stream, path.name, shape, dtype)
    affine, warnings = _affine(path.name, header, shape)
    grid = native_geometry(path.name, shape, affine)
    slope, inter = _scaling(path.name, header)
    turned, canonical, to_native = to_canonical(values, grid)
    return RawImage(turned, canonical, to_native, "NIfTI", warnings, slope, inter)


def _start(name: str, stream: BinaryIO | Inflater) -> bytes:
    """The bytes of the header: as many as its kind has."""
    start = stream.read(_HEADER_1)
    if start[4:7] in (b"n+2", b"ni2"):
        start += stream.read(_HEADER_2 - _HEADER_1)
    if len(start) not in (_HEADER_1, _HEADER_2):
        raise InputError(f"{name}: truncated or damaged: its NIfTI header is incomplete")
    return start


def _header(name: str, start: bytes) -> Nifti1Header:
    from nibabel.nifti1 import Nifti1Header
    from nibabel.nifti2 import Nifti2Header

    two = len(start) == _HEADER_2
    if (start[4:7] if two else start[344:347]) in (b"ni1", b"ni2"):
        raise InputError(
            f"{name}: a NIfTI header with its voxels in another file (.hdr/.img); expected one "
            ".nii or .nii.gz file"
        )
    header: Nifti1Header = (Nifti2Header if two else Nifti1Header)(start, check=False)
    return header


def _layout(name: str, header: Nifti1Header) -> tuple[Shape, np.dtype, int]:
    """Shape ``(z, y, x)``, the stored data type, and where the voxels begin."""
    from nibabel.spatialimages import HeaderDataError

    try:
        sizes = tuple(int(n) for n in header.get_data_shape())
        dtype, offset = header.get_data_dtype(), int(header.get_data_offset())
    except (HeaderDataError, ValueError, KeyError, OverflowError):
        raise InputError(f"{name}: its NIfTI header is damaged") from None
    if dtype.kind not in "iuf":
        kind = "colour" if dtype.names else "complex or unknown"
        raise InputError(f"{name}: {kind} voxels; expected one grey value (HU) a voxel")
    if len(sizes) < 2 or min(sizes) < 1:
        raise InputError(f"{name}: sizes {sizes} are not a volume's")
    if any(n > 1 for n in sizes[3:]):
        text = " x ".join(map(str, sizes))
        raise InputError(
            f"{name}: {len(sizes)}D ({text}); expected one 3D volume, so save the time point "
            "or channel wanted as its own file"
        )
    x, y, z = (*sizes, 1)[:3]
    return (z, y, x), dtype, offset


def _scaling(name: str, header: Nifti1Header) -> tuple[float, float]:
    from nibabel.spatialimages import HeaderDataError

    try:
        slope, inter = header.get_slope_inter()
    except HeaderDataError:
        raise InputError(f"{name}: its scaling (scl_slope, scl_inter) is damaged") from None
    return (1.0, 0.0) if slope is None else (float(slope), float(inter or 0.0))


def _affine(name: str, header: Nifti1Header, shape: Shape) -> tuple[Affine, tuple[str, ...]]:
    """Index ``(x, y, z, 1)`` to LPS mm, and what the user should know about it."""
    sform, qform = _coded(header, "sform"), _coded(header, "qform")
    warnings: list[str] = []
    if sform is None and qform is None:
        raise InputError(
            f"{name}: no usable orientation (sform and qform are not set), so left and right "
            "cannot be told; convert it again from DICOM, or set the sform"
        )
    if sform is not None and qform is not None:
        one, other = (native_geometry(name, shape, form) for form in (sform, qform))
        apart = float(np.abs(one.corners_mm() - other.corners_mm()).max())
        if apart > _DISAGREE_MM:
            warnings.append(f"sform and qform disagree by up to {apart:.1f} mm: the sform was used")
    chosen = sform if sform is not None else qform
    assert chosen is not None
    affine = ras_to_lps(chosen)
    unit = _unit(header, affine)
    if unit != 1:
        affine[:3] *= unit
        warnings.append(f"lengths were converted to mm (the file's unit is {unit:g} mm)")
    return affine, tuple(warnings)


def _coded(header: Nifti1Header, form: str) -> Affine | None:
    """The affine (RAS) if its code is set and it can be inverted."""
    from nibabel.spatialimages import HeaderDataError

    if int(header[f"{form}_code"]) <= 0:
        return None
    try:
        affine = np.array(getattr(header, f"get_{form}")(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) > 1e-9
    return affine if usable else None


def _unit(header: Nifti1Header, affine: Affine) -> float:
    """Millimetres per unit: metres and micrometres only where the spacing bears them out."""
    unit = _MM_PER_UNIT.get(int(header["xyzt_units"]) & 7, 1.0)
    spacing = np.linalg.norm(affine[:3, :3], axis=0) * unit
    return unit if (spacing >= 0.01).all() and (spacing <= 50).all() else 1.0
