"""The pictures of a case's report by name, drawn once for HTML and PDF."""

from __future__ import annotations

from typing import Literal

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.reports.document import Picture
from napari_covseg.reports.findings_content import FindingsContent
from napari_covseg.reports.findings_document import key_note

_OUTLINES = (
    "Lungs outlined blue, ground-glass opacity amber, consolidation red. The patient's right is on "
    "the left. "
)
_MAP_NOTE = (
    "Share of each part that is lesion, in % of its lung, and its points: lobes in the 25-point "
    "score (0 to 5), regions in the CT severity score (0 to 2). Darker is more."
)
_HISTOGRAM_NOTE = (
    "Both lungs, lesions included; values below -1024 and above 1023 HU count as these. The bands "
    "are those of the table."
)


def findings_figures(content: FindingsContent) -> Steps[dict[str, Picture]]:
    """Draw ``key``, ``axial`` and ``coronal``; ``map`` and ``histogram`` where they exist."""
    from napari_covseg.reports.findings_charts import histogram_chart, severity_map
    from napari_covseg.reports.findings_pictures import key_pictures, lightbox

    planes = content.planes
    yield Progress(0, 4, "drawing the key pictures")
    key = Picture(key_pictures(planes), "jpeg", "Key pictures", key_note(content), fits=True)
    yield Progress(1, 4, "drawing axial slices")
    axial = Picture(lightbox(planes.axial, 4), "jpeg", "Axial slices", _OUTLINES + "From the top.")
    yield Progress(2, 4, "drawing coronal slices")
    coronal = Picture(
        lightbox(planes.coronal, 3), "jpeg", "Coronal slices", _OUTLINES + "From the front."
    )
    yield Progress(3, 4, "drawing charts")
    found = {"key": key, "axial": axial, "coronal": coronal}
    charts: tuple[tuple[str, bytes | None, str, str], ...] = (
        ("map", severity_map(content.result), "Severity by lobe and region", _MAP_NOTE),
        ("histogram", histogram_chart(content.result), "Histogram of density", _HISTOGRAM_NOTE),
    )
    kind: Literal["png"] = "png"
    for name, data, title, note in charts:
        if data is not None:
            found[name] = Picture(data, kind, title, note)
    return found
