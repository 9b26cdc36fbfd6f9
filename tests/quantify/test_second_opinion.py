import numpy as np
import pytest
from block_lungs import as_map, as_volume, blocks, measured

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume
from napari_covseg.quantify.case import quantify


def with_hu(labels, change):
    volume = as_volume(labels)
    hu = volume.hu.copy()
    change(hu)
    return run_to_end(quantify(as_map(labels), CTVolume(hu, volume.geometry, "case")))


def diseased():
    labels = blocks()
    labels[5:10, 20:30, 62:72] = Label.GGO  # 500
    labels[12:14, 20:30, 62:72] = Label.CONSOLIDATION  # 200
    return labels


def test_thresholds_find_what_the_labels_say():
    opinion = measured(diseased()).second_opinion
    assert opinion.ggo_percent == pytest.approx(100 * 500 / 60000)
    assert opinion.consolidation_percent == pytest.approx(100 * 200 / 60000)
    assert opinion.lesions_dense_percent == 100.0
    assert opinion.unlabelled_dense_percent == 0.0
    assert (opinion.consolidation_solid_percent, opinion.ggo_solid_percent) == (100.0, 0.0)
    assert opinion.disagreements == ()


def test_lesions_as_thin_as_air_are_flagged():
    def thin(hu):
        hu[5:10, 20:30, 62:72] = -850

    found = with_hu(diseased(), thin)
    assert found.second_opinion.lesions_dense_percent == pytest.approx(100 * 200 / 700)
    assert any("Only 29 % of the labelled lesions" in line for line in found.warnings)


def test_dense_lung_that_nobody_labelled_is_flagged():
    def dense(hu):
        hu[20:32, 10:50, 10:40] = -600

    found = with_hu(diseased(), dense)
    assert found.second_opinion.unlabelled_dense_percent == pytest.approx(100 * 14400 / 60000)
    assert any("24 % of the lungs are denser" in line for line in found.warnings)


def test_classes_that_look_like_each_other_are_flagged():
    def swap(hu):
        hu[5:10, 20:30, 62:72] = 0
        hu[12:14, 20:30, 62:72] = -500

    lines = with_hu(diseased(), swap).second_opinion.disagreements
    assert [line.split(" % of the labelled ")[1].split()[0] for line in lines] == [
        "consolidation",
        "GGO",
    ]


def test_a_handful_of_voxels_says_nothing():
    labels = blocks()
    labels[5, 20, 62:72] = Label.CONSOLIDATION

    def thin(hu):
        hu[5, 20, 62:72] = -850

    assert with_hu(labels, thin).second_opinion.disagreements == ()


def test_no_lung_has_nothing_to_share():
    opinion = measured(np.zeros((34, 60, 100), np.uint8)).second_opinion
    assert (opinion.lesions_percent, opinion.unlabelled_dense_percent) == (None, None)
    assert opinion.disagreements == ()
