"""Cross-validations made by hand, with figures that can be worked out on paper."""

from dataclasses import replace

import numpy as np

from napari_covseg.metrics.overlap import Counts
from napari_covseg.reports.crossval_content import (
    CrossvalContent,
    Curve,
    FoldReport,
    MeasuredCase,
    SliceView,
)


def counts(both: int, predicted_only: int, reference_only: int, neither: int = 100) -> Counts:
    return Counts(both, predicted_only, reference_only, neither)


def measured(
    fold: int, case: str, patient: int, infection: Counts | None, lung: Counts | None = None
) -> MeasuredCase:
    by_class = {"lung": lung, "infection": infection, "ggo": None, "consolidation": None}
    return MeasuredCase(fold, case, "toy", patient, by_class, slices=4, lesion_slices=4)


def three_folds() -> CrossvalContent:
    """Infection Dice: fold 1: patient 1 has 0.5 and 1.0, patient 2 has 0.25; fold 2: 0.8; fold 3
    failed.
    """
    half, whole, quarter, most = (
        *(counts(5, 5, 5, 85), counts(10, 0, 0, 90)),
        *(counts(1, 3, 3, 93), counts(8, 2, 2, 88)),
    )
    lung = counts(45, 5, 5, 45)
    curve = Curve((1, 2), (2.0, 1.0), {"lung": (0.5, 0.9), "infection": (0.1, float("nan"))})
    first = FoldReport(
        *(1, 2, 2, 2, 3),
        device="CPU",
        epochs=2,
        seconds=90.0,
        stopped="epochs",
        curve=curve,
        measured=(
            measured(1, "a1", 1, half, lung),
            measured(1, "a2", 1, whole),
            measured(1, "b", 2, quarter),
        ),
    )
    second = FoldReport(*(2, 3, 4, 1, 1), measured=(measured(2, "c", 3, most),))
    third = FoldReport(*(3, 3, 4, 1, 1), error="the loss is no longer a number")
    return CrossvalContent(
        datasets=("toy",),
        folds=(first, second, third),
        seed=7,
        turned_round=False,
        postprocessed=False,
        settings={"name": "fast", "network": "unet2d"},
        warnings=("toy: 2 < 3",),
        version="1.2.3",
    )


def view(**changes: object) -> SliceView:
    """Four by four pixels at -600 HU; the reference has GGO in a corner, the prediction not."""
    reference = np.full((4, 4), 6, np.uint8)
    reference[0, 0], reference[0, 3], reference[3, 3] = 3, 4, 7
    one = SliceView(
        rank="best",
        chosen_by="infection",
        case="a",
        fold=1,
        slice_number=2,
        slices=3,
        dice=0.5,
        hu=np.full((4, 4), -600, np.int16),
        reference=reference,
        prediction=np.full((4, 4), 6, np.uint8),
        spacing_mm=(1.0, 2.0),
    )
    return replace(one, **changes)
