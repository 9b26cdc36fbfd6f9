"""Who or what made the labels, as DICOM SEG and SR name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID, uuid5

from napari_covseg import __version__
from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence

MANUFACTURER = "The napari-covseg developers"
SOFTWARE = "napari-covseg"
RESEARCH_USE = "Research use only: not a medical device, not for diagnosis or treatment."

Way = Literal["automatic", "corrected", "manual"]
_ALGORITHM_TYPES = {"automatic": "AUTOMATIC", "corrected": "SEMIAUTOMATIC", "manual": "MANUAL"}
_NOT_STATED = "not stated"
_DEVICE_SPACE = UUID("3a8f3f0e-6c1c-4f5e-9a64-0d4f1d8a2b57")
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class Maker:
    """How labels were made: ``automatic``, ``corrected`` by hand afterwards, or ``manual``.

    ``model``, ``version`` and ``sha256`` name the model, empty where none is known; ``software``
    is the version of napari-covseg that ran it. ``person`` is who corrected, drew or checked them,
    as DICOM writes names (``Family^Given``).

    Raises
    ------
    UsageError
        If the person's name is not one that DICOM can hold.
    """

    way: Way
    model: str = ""
    version: str = ""
    sha256: str = ""
    software: str = __version__
    person: str = ""

    def __post_init__(self) -> None:
        too_long = any(len(group) > _LONGEST for group in self.person.split("="))
        if too_long or not self.person.isprintable() or not self.person.isascii():
            raise UsageError(
                "--person: expected a name as DICOM writes it, Family^Given, in ASCII letters and "
                f"{_LONGEST} characters at most"
            )
        if self.person and "^" not in self.person:
            object.__setattr__(self, "person", f"{self.person}^")

    @property
    def algorithm_type(self) -> str:
        """DICOM's SegmentAlgorithmType."""
        return _ALGORITHM_TYPES[self.way]

    @property
    def serial_number(self) -> str:
        """What stands for a device's serial number: the start of the model's hash."""
        return self.sha256[:16] or _NOT_STATED

    @property
    def device_uid(self) -> str:
        """A UID for this version of the software with this model, always the same."""
        named = uuid5(_DEVICE_SPACE, f"{SOFTWARE} {self.software} {self.sha256}")
        return f"2.25.{named.int}"

    @property
    def equipment(self) -> dict[str, Any]:
        """The equipment module, as arguments of highdicom's constructors."""
        return {
            "manufacturer": MANUFACTURER,
            "manufacturer_model_name": SOFTWARE,
            "software_versions": self.software,
            "device_serial_number": self.serial_number,
        }

    def algorithm(self) -> AlgorithmIdentificationSequence | None:
        """The algorithm with its version and hash; None for labels made by hand."""
        from highdicom import AlgorithmIdentificationSequence
        from pydicom.sr.codedict import codes

        if self.way == "manual":
            return None
        return AlgorithmIdentificationSequence(
            name=(f"{SOFTWARE} {self.model}" if self.model else _NOT_STATED)[:_LONGEST],
            family=codes.DCM.ArtificialIntelligence,
            version=(self.version or _NOT_STATED)[:_LONGEST],
            source=MANUFACTURER if self.model else None,
            parameters={"model_sha256": self.sha256} if self.sha256 else None,
        )
