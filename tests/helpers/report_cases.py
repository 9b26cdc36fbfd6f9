"""Reports of lungs made of blocks, whose every figure can be worked out by hand."""

from __future__ import annotations

from block_lungs import as_map, as_volume, blocks

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.reports.findings_content import Reading
from napari_covseg.workflows.origin import Origin
from napari_covseg.workflows.report import report_content
from napari_covseg.workflows.report_origin import CaseFiles


def sick_blocks():
    """6 ml of lesion in the left lung (480 ml): 4.8 ml GGO, 1.2 ml consolidation."""
    labels = blocks()
    labels[5:7, 20:32, 62:72] = Label.GGO
    labels[7, 20:26, 62:72] = Label.CONSOLIDATION
    return labels


def content_of(labels=None, *, volume="same", reading=None, origin=None, identity=None):
    """The report's content of a label array."""
    labels = sick_blocks() if labels is None else labels
    ct = as_volume(labels) if isinstance(volume, str) else volume
    case = CaseFiles(as_map(labels), ct, origin or Origin())
    return run_to_end(report_content(case, reading or Reading(), identity))
