"""Coded terms of DICOM SEG and SR: SNOMED CT, DICOM's own (DCM), UCUM, and ours where none fits.

Terms are those of DICOM PS3.16 where it lists one (CID 7150, 6104, 244); ground-glass opacity and
lung consolidation are SNOMED CT concepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_covseg.domain.labels import Label

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept

OWN_SCHEME = "99COVSEG"
"""Our private coding scheme (PS3.16, 8.2: private schemes start with 99)."""


@dataclass(frozen=True, slots=True)
class Term:
    """A code, the scheme it is of, and what it means."""

    value: str
    scheme: str
    meaning: str

    def coded(self) -> CodedConcept:
        """For highdicom."""
        from highdicom.sr import CodedConcept

        return CodedConcept(self.value, self.scheme, self.meaning)


ANATOMICAL_STRUCTURE = Term("91723000", "SCT", "Anatomical Structure")
ABNORMAL_STRUCTURE = Term("49755003", "SCT", "Morphologically Abnormal Structure")
LUNG = Term("39607008", "SCT", "Lung")
LEFT = Term("7771000", "SCT", "Left")
RIGHT = Term("24028007", "SCT", "Right")
BOTH = Term("51440002", "SCT", "Right and left")
GROUND_GLASS = Term("1217294009", "SCT", "Ground glass opacity")
CONSOLIDATION = Term("95436008", "SCT", "Lung consolidation")
OPACITY = Term("112033", "DCM", "Abnormal opacity")
"""Of infection whose class is unknown, and of all lesions together: it claims no cause."""

VOLUME = Term("118565006", "SCT", "Volume")
PERCENT_OF_LUNG = Term("percent-of-lung", OWN_SCHEME, "Percent of lung volume")
MILLILITER = Term("mL", "UCUM", "milliliter")
PERCENT = Term("%", "UCUM", "Percent")
COMMENT = Term("121106", "DCM", "Comment")
CT_PROCEDURE = Term("25045-6", "LN", "CT unspecified body region")
"""CID 100 has no CT of the chest."""


@dataclass(frozen=True, slots=True)
class SegmentTerms:
    """What a segment is: category, type, side of the type, and the region it lies in."""

    category: Term
    kind: Term
    side: Term | None = None
    region: Term | None = None


SEGMENTS: Mapping[Label, SegmentTerms] = {
    Label.LEFT_LUNG: SegmentTerms(ANATOMICAL_STRUCTURE, LUNG, LEFT),
    Label.RIGHT_LUNG: SegmentTerms(ANATOMICAL_STRUCTURE, LUNG, RIGHT),
    Label.LUNG: SegmentTerms(ANATOMICAL_STRUCTURE, LUNG),
    Label.GGO: SegmentTerms(ABNORMAL_STRUCTURE, GROUND_GLASS, region=LUNG),
    Label.CONSOLIDATION: SegmentTerms(ABNORMAL_STRUCTURE, CONSOLIDATION, region=LUNG),
    Label.INFECTION: SegmentTerms(ABNORMAL_STRUCTURE, OPACITY, region=LUNG),
}
"""Segments in the order they are numbered."""
