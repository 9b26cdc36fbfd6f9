import io
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from crossval_contents import three_folds, view
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from scipy import stats

from napari_covseg.domain.colours import LABEL_COLOURS
from napari_covseg.domain.labels import Label
from napari_covseg.reports.figures import box_plots, fitting_curves, mean_and_band, write_figure
from napari_covseg.reports.slices import caption, painted, slice_pictures

NAN = math.nan


def pixels(png: bytes | None) -> np.ndarray:
    assert png is not None
    return np.asarray(imread(io.BytesIO(png), format="png"))[..., :3]


def has_colour(picture: np.ndarray, colour: str) -> bool:
    return bool((np.abs(picture - np.array(to_rgb(colour))).max(axis=2) < 0.02).any())


def test_the_band_is_students_interval_of_the_mean() -> None:
    values = [(0.2, 0.4), (0.4, 0.5), (0.9, 0.6)]
    epochs, mean, half = mean_and_band([((1, 2), one) for one in values])
    assert epochs.tolist() == [1, 2]
    assert mean == pytest.approx([0.5, 0.5])
    first = [0.2, 0.4, 0.9]
    low, high = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem(first))
    assert 2 * half[0] == pytest.approx(high - low)
    assert half[1] < half[0]


def test_the_mean_ends_where_a_fold_ends() -> None:
    epochs, mean, _ = mean_and_band([((1, 2, 3), (1.0, 2.0, 9.0)), ((1, 2), (3.0, NAN))])
    assert epochs.tolist() == [1]
    assert mean.tolist() == [2.0]


def test_two_folds_have_no_band() -> None:
    _, mean, half = mean_and_band([((1,), (0.2,)), ((1,), (0.6,))])
    assert mean.tolist() == pytest.approx([0.4])
    assert half.tolist() == [0.0]


def test_a_fold_without_the_class_is_left_out() -> None:
    epochs, mean, half = mean_and_band([((1, 2), (0.3, 0.4)), ((1, 2), (NAN, NAN))])
    assert (epochs.tolist(), mean.tolist(), half.tolist()) == ([1, 2], [0.3, 0.4], [0.0, 0.0])
    assert mean_and_band([((1,), (NAN,))])[0].size == 0


def test_curves_show_the_classes_there_are() -> None:
    picture = pixels(fitting_curves(three_folds()))
    assert has_colour(picture, LABEL_COLOURS[Label.RIGHT_LUNG])
    assert not has_colour(picture, LABEL_COLOURS[Label.CONSOLIDATION])
    assert fitting_curves(replace(three_folds(), folds=three_folds().folds[1:])) is None


def test_box_plots_show_the_classes_there_are() -> None:
    picture = pixels(box_plots(three_folds()))
    assert has_colour(picture, LABEL_COLOURS[Label.INFECTION])
    assert not has_colour(picture, LABEL_COLOURS[Label.GGO])
    assert box_plots(replace(three_folds(), folds=three_folds().folds[2:])) is None


def test_slices_are_painted_in_the_fixed_colours_over_the_lung_window() -> None:
    one = view()
    plain, reference = painted(one, None), painted(one, one.reference)
    assert plain[1, 1] == pytest.approx([0.5, 0.5, 0.5])
    assert reference[1, 1] == pytest.approx([0.5, 0.5, 0.5])
    amber = np.array(to_rgb(LABEL_COLOURS[Label.GGO]))
    assert reference[0, 0] == pytest.approx(0.35 * 0.5 + 0.65 * amber, abs=1e-6)
    red = np.array(to_rgb(LABEL_COLOURS[Label.CONSOLIDATION]))
    assert reference[0, 3] == pytest.approx(0.35 * 0.5 + 0.65 * red, abs=1e-6)
    assert painted(one, one.prediction)[0, 0] == pytest.approx([0.5, 0.5, 0.5])


def test_the_window_ends_in_black_and_white() -> None:
    one = view(hu=np.array([[-2000, -1350], [150, 3000]], np.int16))
    assert painted(one, None)[..., 0].tolist() == [[0, 0], [1, 1]]


def test_slices_keep_the_patients_right_on_the_left() -> None:
    """The array's first column (the patient's right) is drawn on the left, the first row on top."""
    labels = np.zeros((8, 8), np.uint8)
    labels[0:3, 0:3] = Label.CONSOLIDATION
    blank = np.zeros((8, 8), np.uint8)
    one = view(hu=np.full((8, 8), -1350, np.int16), reference=labels, prediction=blank)
    picture = pixels(slice_pictures([one]))
    middle = slice(None, int(0.9 * len(picture)))  # Above the legend.
    rows, columns = np.nonzero((picture[middle, :, 0] > 0.5) & (picture[middle, :, 1] < 0.3))
    third = picture.shape[1] / 3
    assert third < columns.mean() < 1.5 * third
    assert rows.mean() < 0.5 * len(picture)


def test_lesions_alone_are_not_outlined_as_lungs() -> None:
    labels = np.zeros((8, 8), np.uint8)
    labels[2:5, 2:5] = Label.GGO
    blank = np.zeros((8, 8), np.uint8)
    one = view(hu=np.full((8, 8), -1350, np.int16), reference=labels, prediction=blank)
    marked = replace(one, reference=np.where(labels == 0, Label.LUNG, labels).astype(np.uint8))
    marked.reference[0] = 0

    def above_legend(shown) -> np.ndarray:
        picture = pixels(slice_pictures([shown]))
        return picture[: int(0.85 * len(picture))]

    assert has_colour(above_legend(marked), LABEL_COLOURS[Label.LUNG])
    assert not has_colour(above_legend(one), LABEL_COLOURS[Label.LUNG])


def test_captions() -> None:
    assert caption(view()) == "Best infection Dice: a, 0.500 over the volume (fold 1, slice 2 of 3)"
    assert caption(view(rank="worst", chosen_by="lung")).startswith("Worst lung Dice")
    assert slice_pictures([]) is None


def test_figures_are_the_same_every_time(tmp_path: Path) -> None:
    assert box_plots(three_folds()) == box_plots(three_folds())
    png = box_plots(three_folds())
    assert write_figure(tmp_path / "one.png", png).read_bytes() == png
