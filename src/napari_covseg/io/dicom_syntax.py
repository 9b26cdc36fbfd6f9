"""Transfer syntaxes: which are decoded, by what, and what the others are called."""

from __future__ import annotations

from collections.abc import Mapping

from napari_covseg.io.dicom_header import DEFLATED, NATIVE_SYNTAXES

FAST_DECODERS: Mapping[str, str] = {
    "1.2.840.10008.1.2.4.51": "jpeg8_decode",
    "1.2.840.10008.1.2.4.57": "jpeg8_decode",
    "1.2.840.10008.1.2.4.70": "jpeg8_decode",
    "1.2.840.10008.1.2.4.80": "jpegls_decode",
    "1.2.840.10008.1.2.4.81": "jpegls_decode",
}
"""Functions of imagecodecs (libjpeg-turbo, CharLS) tried first: faster than GDCM, and the only ones
that decode 12-bit JPEG (.51)."""

DECODED_SYNTAXES = (
    *NATIVE_SYNTAXES,
    DEFLATED,
    "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50",
    *FAST_DECODERS,
    "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91",
    "1.2.840.10008.1.2.4.201",
    "1.2.840.10008.1.2.4.202",
    "1.2.840.10008.1.2.4.203",
)
"""The others by numpy (native), pydicom (deflated, RLE), and GDCM and OpenJPEG through pydicom. All
suit a BSD licence; pylibjpeg-libjpeg (GPL) is not needed."""

_NAMES: Mapping[str, str] = {
    "1.2.840.113619.5.2": "GE Private Implicit VR Big Endian",
    "1.2.840.10008.1.2.4.100": "MPEG2 video",
}


def syntax_name(uid: str) -> str:
    """The name of a transfer syntax with its UID, for messages."""
    from pydicom.uid import UID

    name = _NAMES.get(uid) or UID(uid).name
    return f"transfer syntax {uid}" if name == uid else f"{name} ({uid})"
