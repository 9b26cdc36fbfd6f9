"""Measurements to a DICOM structured report after TID 1500, linked to a SEG and its series.

A Comprehensive 3D SR: one measurement group for each finding (TID 1411 where a segment of the SEG
shows it, TID 1501 where none does), each measurement with its unit and the side it is of.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_covseg.domain.errors import CovsegError, InputError
from napari_covseg.domain.labels import Label
from napari_covseg.io.atomic import atomic_file
from napari_covseg.io.dicom_codes import (
    BOTH,
    COMMENT,
    CT_PROCEDURE,
    LEFT,
    LUNG,
    OWN_SCHEME,
    RIGHT,
    Term,
)
from napari_covseg.io.dicom_files import quiet_pydicom
from napari_covseg.io.dicom_maker import MANUFACTURER, RESEARCH_USE, SOFTWARE, Maker
from napari_covseg.io.dicom_reference import reference_images
from napari_covseg.io.dicom_seg_write import WrittenSeg
from napari_covseg.io.dicom_source import SourceSeries

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Side = Literal["left", "right", "both"]
_SIDES = {"left": LEFT, "right": RIGHT, "both": BOTH}
_SERIES_OFFSET = 2000


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its name, its unit and the side it is of.

    Raises
    ------
    ValueError
        If it is not a finite number: what is not known is left out, not written.
    """

    name: Term
    value: float
    unit: Term
    side: Side = "both"

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise ValueError(f"{self.name.meaning}: {self.value} is not a measurement")


@dataclass(frozen=True, slots=True)
class Finding:
    """A finding with its measurements: a lung, a kind of lesion, or a score.

    ``label`` is the segment that shows it, None for what is no segment of its own. ``title`` names
    the group for people.
    """

    title: str
    category: Term
    kind: Term
    measured: tuple[Measured, ...]
    side: Side = "both"
    label: Label | None = None


def write_dicom_sr(
    findings: Sequence[Finding],
    source: SourceSeries,
    seg: WrittenSeg,
    path: str | Path,
    maker: Maker,
    comments: Sequence[str] = (),
) -> Path:
    """Write findings as a DICOM SR, after what would be written was read back and compared.

    Parameters
    ----------
    findings
        At least one.
    source
        The series measured.
    seg
        The SEG whose segments show the findings.
    path
        The file; it appears whole or not at all.
    maker
        The observer: the software, and its person if there is one.
    comments
        Plain sentences, after the one that says "research use only".

    Raises
    ------
    InputError
        If there is no finding, or the headers of the series do not allow an SR.
    ResourceError
        If the disk is full.
    CovsegError
        If what would be written does not read back as the findings: nothing is written then.
    """
    path = Path(path)
    if not findings:
        raise InputError(f"{path.name}: there is no measurement to write")
    with quiet_pydicom():
        dataset = _dataset(findings, source, seg, maker, (RESEARCH_USE, *comments))
        with atomic_file(path) as file:
            dataset.save_as(file, enforce_file_format=True)
            file.flush()
            if not _reads(Path(file.name), findings, seg):
                raise CovsegError(
                    f"{path.name}: the self-test failed, the DICOM SR would not read back as the "
                    "measurements: nothing was written; please report it"
                )
    return path


def _dataset(
    findings: Sequence[Finding],
    source: SourceSeries,
    seg: WrittenSeg,
    maker: Maker,
    comments: Sequence[str],
) -> Any:
    from highdicom import UID
    from highdicom.sr import Comprehensive3DSR, MeasurementReport

    images = reference_images(source)
    try:
        report = MeasurementReport(
            observation_context=_observers(maker),
            procedure_reported=CT_PROCEDURE.coded(),
            imaging_measurements=[_group(finding, source, seg, maker) for finding in findings],
            referenced_images=images,
        )
        for comment in comments:
            report[0].ContentSequence.append(_comment(comment))
        return Comprehensive3DSR(
            evidence=[*images, _seg_reference(images[0], seg)],
            content=report,
            series_instance_uid=UID(),
            series_number=source.number + _SERIES_OFFSET,
            sop_instance_uid=UID(),
            instance_number=1,
            is_complete=True,
            is_final=False,
            coding_schemes=_schemes(findings),
            series_description="covseg measurements (research use only)",
            **maker.equipment,
        )
    except (TypeError, KeyError, AttributeError, IndexError):
        # Without the cause: highdicom quotes what it refuses, patient data included.
        raise InputError(
            f"{source.name}: the headers of the series break the standard, so no DICOM SR can "
            "refer to it; use the series as the scanner sent it"
        ) from None


def _observers(maker: Maker) -> Any:
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
        PersonObserverIdentifyingAttributes,
    )
    from pydicom.sr.codedict import codes

    device = ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=maker.device_uid,
            name=f"{SOFTWARE} {maker.software}",
            manufacturer_name=MANUFACTURER,
            model_name=SOFTWARE,
            serial_number=maker.serial_number,
        ),
    )
    person = None
    if maker.person:
        person = ObserverContext(
            observer_type=codes.DCM.Person,
            observer_identifying_attributes=PersonObserverIdentifyingAttributes(maker.person),
        )
    return ObservationContext(observer_device_context=device, observer_person_context=person)


def _group(finding: Finding, source: SourceSeries, seg: WrittenSeg, maker: Maker) -> Any:
    from highdicom import UID
    from highdicom.sr import (
        FindingSite,
        MeasurementsAndQualitativeEvaluations,
        ReferencedSegment,
        SourceSeriesForSegmentation,
        TrackingIdentifier,
        VolumetricROIMeasurementsAndQualitativeEvaluations,
    )

    about: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(uid=UID(), identifier=finding.title),
        "finding_category": finding.category.coded(),
        "finding_type": finding.kind.coded(),
        "finding_sites": [FindingSite(LUNG.coded(), _SIDES[finding.side].coded())],
        "algorithm_id": _algorithm(maker),
        "measurements": [_measurement(one, finding) for one in finding.measured],
    }
    number = seg.segments.get(finding.label) if finding.label is not None else None
    if number is None:
        return MeasurementsAndQualitativeEvaluations(**about)
    return VolumetricROIMeasurementsAndQualitativeEvaluations(
        referenced_segment=ReferencedSegment(
            sop_class_uid=seg.sop_class,
            sop_instance_uid=seg.sop_uid,
            segment_number=number,
            source_series=SourceSeriesForSegmentation(source.header.SeriesInstanceUID),
        ),
        **about,
    )


def _measurement(one: Measured, finding: Finding) -> Any:
    """A measurement names its side where that is not the finding's."""
    from highdicom.sr import FindingSite, Measurement

    site = [FindingSite(LUNG.coded(), _SIDES[one.side].coded())]
    return Measurement(
        name=one.name.coded(),
        value=one.value,
        unit=one.unit.coded(),
        finding_sites=site if one.side != finding.side else None,
    )


def _algorithm(maker: Maker) -> Any:
    from highdicom.sr import AlgorithmIdentification

    told = maker.algorithm()
    if told is None:
        return None
    item = told[0]
    parameters = item.get("AlgorithmParameters")
    return AlgorithmIdentification(
        name=item.AlgorithmName,
        version=item.AlgorithmVersion,
        parameters=[parameters] if parameters else None,
    )


def _comment(text: str) -> Any:
    """TID 1500 is extensible: comments stand beside its measurements."""
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(COMMENT.coded(), text, RelationshipTypeValues.CONTAINS)


def _seg_reference(first: Dataset, seg: WrittenSeg) -> Dataset:
    from pydicom.dataset import Dataset

    made = Dataset()
    made.StudyInstanceUID = first.StudyInstanceUID
    made.SeriesInstanceUID = seg.series_uid
    made.SOPClassUID, made.SOPInstanceUID = seg.sop_class, seg.sop_uid
    return made


def _schemes(findings: Sequence[Finding]) -> list[Any] | None:
    from highdicom.coding_schemes import CodingSchemeIdentificationItem

    terms = [one.name for finding in findings for one in finding.measured]
    terms += [finding.kind for finding in findings]
    if not any(term.scheme == OWN_SCHEME for term in terms):
        return None
    return [
        CodingSchemeIdentificationItem(
            OWN_SCHEME, name=f"{SOFTWARE} terms", responsible_organization=MANUFACTURER
        )
    ]


def _reads(path: Path, findings: Sequence[Finding], seg: WrittenSeg) -> bool:
    """Whether highdicom's reader gets every number back, with its segment, unit and side."""
    from highdicom.sr import srread

    groups = srread(path).content.get_volumetric_roi_measurement_groups()
    groups += srread(path).content.get_image_measurement_groups()
    told = {str(group.tracking_identifier): group for group in groups}
    if len(groups) != len(findings) or len(told) != len(findings):
        return False
    return all(_same(told.get(finding.title), finding, seg) for finding in findings)


def _same(group: Any, finding: Finding, seg: WrittenSeg) -> bool:
    if group is None:
        return False
    number = seg.segments.get(finding.label) if finding.label is not None else None
    if number is not None:
        segment = group.referenced_segment
        if (segment.referenced_sop_instance_uid, segment.referenced_segment_numbers) != (
            seg.sop_uid,
            [number],
        ):
            return False
    read = [_told(one, group) for one in group.get_measurements()]
    return read == [
        (one.name.value, _rounded(one.value), one.unit.value, _SIDES[one.side].value)
        for one in finding.measured
    ]


def _told(one: Any, group: Any) -> tuple[str, float, str, str]:
    site = (one.finding_sites or group.finding_sites)[0]
    return one.name.value, _rounded(float(one.value)), one.unit.value, site.laterality.value


def _rounded(value: float) -> float:
    """To what a decimal string of 16 characters holds surely."""
    return float(f"{value:.9g}")
