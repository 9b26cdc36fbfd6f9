"""NRRD and MetaImage (MHA, MHD): the header is checked here, the voxels are read by SimpleITK.

ITK gives such files an identity orientation when they state none, and reads what it can of a
damaged one. So the text header is read first: orientation must be stated, sizes must fit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Affine
from napari_covseg.io.itk_headers import TextHeader, read_metaimage_header, read_nrrd_header
from napari_covseg.io.raw import RawImage, native_geometry, to_canonical
from napari_covseg.io.sniff import Kind, readable


def read_itk(path: Path, kind: Kind) -> RawImage:
    """The voxels and grid of an NRRD or MetaImage file; ``fields`` are its header's fields.

    Raises
    ------
    InputError
        If the file is damaged, truncated, not 3D, has several values a voxel, or states no
        orientation.
    """
    with readable(path):
        read = read_nrrd_header if kind is Kind.NRRD else read_metaimage_header
        header = read(path)
        return _read(path, kind, header)


def _read(path: Path, kind: Kind, header: TextHeader) -> RawImage:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(path))
    reader.SetImageIO("NrrdImageIO" if kind is Kind.NRRD else "MetaImageIO")
    try:
        image = reader.Execute()
    except RuntimeError:
        raise InputError(
            f"{path.name}: truncated or damaged: its voxels could not be read as {kind.value}"
        ) from None
    values = SimpleITK.GetArrayFromImage(image)
    affine = _affine(image.GetDirection(), image.GetSpacing(), image.GetOrigin())
    del image
    if values.shape != header.shape:
        raise InputError(
            f"{path.name}: voxels {values.shape} do not fit the header's sizes {header.shape}"
        )
    grid = native_geometry(path.name, header.shape, affine)
    turned, canonical, to_native = to_canonical(values, grid)
    return RawImage(turned, canonical, to_native, kind.value, fields=header.fields)


def _affine(
    direction: tuple[float, ...], spacing: tuple[float, ...], origin: tuple[float, ...]
) -> Affine:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.array(spacing)
    affine[:3, 3] = origin
    return affine
