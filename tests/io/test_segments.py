"""Segments of other programs are known by their names and codes."""

from __future__ import annotations

import pytest

from napari_covseg.domain.labels import Label
from napari_covseg.io.segments import label_of_segment


@pytest.mark.parametrize(
    ("texts", "label"),
    [
        (("Left lung", "Lung"), Label.LEFT_LUNG),
        (("lung_right",), Label.RIGHT_LUNG),
        (("Segment_1", "Lung Left"), Label.LEFT_LUNG),
        (("Upper lobe of left lung",), Label.LEFT_LUNG),
        (("Lungs",), Label.LUNG),
        (("Ground-glass opacity",), Label.GGO),
        (("GGO",), Label.GGO),
        (("Lung consolidation",), Label.CONSOLIDATION),
        (("COVID-19 infection",), Label.INFECTION),
        (("Lung nodule",), None),
        (("Liver", "Liver"), None),
        (("Lung_L",), Label.LEFT_LUNG),
        (("LUNG RT",), Label.RIGHT_LUNG),
        (("Lung_L", "Right lung"), Label.LEFT_LUNG),
        (("Lungs-GTV",), None),
        (("", ""), None),
    ],
)
def test_labels_of_segment_names(texts, label):
    assert label_of_segment(texts) is label
