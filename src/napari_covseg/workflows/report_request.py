"""What a user chooses about a report. Light to import: the command line's parser reads it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import UsageError
from napari_covseg.workflows.lobe_choice import LobeChoice
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.domain.labels import Label
    from napari_covseg.reports.findings_content import ReaderScore, Reading

FORMATS = ("html", "pdf", "csv", "json", "txt")


@dataclass(frozen=True)
class ReportRequest:
    """What to write, and from what.

    Parameters
    ----------
    formats
        Some of `FORMATS`.
    labels
        A label file, or a folder with one for each case; without it the CT is segmented first.
    lobes
        Where lobes come from; without a choice they are approximated.
    series
        The DICOM series instance UID of the CT; without it the largest axial series.
    window
        ``(low, high)`` HU that black and white stand for, for a CT that is not in HU.
    label_map
        What the numbers in the label file mean.
    with_identifiers
        Whether name, ID, birth date and study date stand in the report (DICOM only).
    segment
        How a CT without labels is segmented.
    reading
        What the reader adds, who signs included.
    scores
        The reader's scores of many cases, by case.
    classification
        What ``covseg classify`` wrote of the CT, ``<case>.json``, or the folder that holds one of
        each case; without it the report has no such section.

    Raises
    ------
    UsageError
        If no format is given, or one that does not exist.
    """

    formats: tuple[str, ...] = FORMATS
    labels: Path | None = None
    lobes: LobeChoice = field(default_factory=LobeChoice)
    series: str | None = None
    window: tuple[float, float] | None = None
    label_map: Mapping[int, Label] | None = None
    with_identifiers: bool = False
    segment: SegmentSettings = field(default_factory=SegmentSettings)
    reading: Reading | None = None
    scores: Mapping[str, tuple[ReaderScore, ...]] = field(default_factory=dict)
    classification: Path | None = None

    def reading_of(self, case: str) -> Reading:
        """What the reader adds to a case, with their scores of it."""
        from napari_covseg.reports.findings_content import Reading

        reading, given = self.reading or Reading(), self.scores.get(case)
        return replace(reading, scores=given) if given else reading

    def __post_init__(self) -> None:
        strange = [name for name in self.formats if name not in FORMATS]
        if strange or not self.formats:
            what = f"no report is written as {strange[0]}" if strange else "no format is given"
            raise UsageError(f"{what}; expected some of {','.join(FORMATS)}")
