"""Any file or folder to a `CTVolume` in Hounsfield units."""

from __future__ import annotations

from pathlib import Path

from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.hounsfield import rescale, to_hounsfield
from napari_covseg.io.inputs import case_name
from napari_covseg.io.raw import RawImage
from napari_covseg.io.sniff import Kind, readable, sniff
from napari_covseg.io.straighten import straighten


def read_volume(
    path: str | Path, *, series: str | None = None, window: tuple[float, float] | None = None
) -> CTVolume:
    """Read a CT, whatever its format (told by content, not by name).

    Parameters
    ----------
    path
        A DICOM folder, zip or file, or a NIfTI, NRRD or MetaImage file.
    series
        DICOM series instance UID; without it the largest axial CT series is taken.
    window
        ``(low, high)`` HU that black and white stand for, for input that is not in HU.

    Raises
    ------
    InputError
        If the input cannot be read or is no CT in Hounsfield units; one line says why.
    ResourceError
        If memory does not suffice.
    """
    path = Path(path)
    kind = sniff(path)
    if kind is Kind.DICOM:
        from napari_covseg.io.dicom import read_dicom

        return read_dicom(path, series=series, window=window)
    with readable(path):
        raw = read_raw(path, kind)
        values, notes = to_hounsfield(rescale(raw.values, raw.slope, raw.inter), path.name, window)
        volume = CTVolume(
            hu=values,
            geometry=raw.geometry,
            case=case_name(path),
            to_native=raw.to_native,
            warnings=(*raw.warnings, *notes),
            source=raw.source,
        )
        return straighten(volume, path.name)


def read_raw(path: Path, kind: Kind) -> RawImage:
    """The stored voxels of a file that is not DICOM."""
    if kind is Kind.NIFTI:
        from napari_covseg.io.nifti import read_nifti

        return read_nifti(path)
    if kind is Kind.NRRD:
        from napari_covseg.io.nrrd import read_nrrd

        return read_nrrd(path)
    from napari_covseg.io.metaimage import read_metaimage

    return read_metaimage(path)
