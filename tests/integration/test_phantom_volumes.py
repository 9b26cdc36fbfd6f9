"""The shipped model measures the phantom, whose volumes are known."""

import pytest

from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.io import make_phantom
from napari_covseg.io.phantom import Phantom
from napari_covseg.quantify.volumes import Measurements, measure
from napari_covseg.workflows.segment import segment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom()


@pytest.fixture(scope="module")
def found(phantom: Phantom) -> Measurements:
    return run_to_end(segment(phantom.volume)).measurements


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_lung_within_5_percent(phantom: Phantom, found: Measurements, side: str) -> None:
    true = getattr(measure(phantom.labels), side).lung_ml
    assert getattr(found, side).lung_ml == pytest.approx(true, rel=0.05)


def test_lesions_within_5_percent(phantom: Phantom, found: Measurements) -> None:
    true = phantom.volumes_ml[Label.GGO] + phantom.volumes_ml[Label.CONSOLIDATION]
    assert found.both.lesions_ml == pytest.approx(true, rel=0.05)


@pytest.mark.parametrize(
    ("label", "field", "margin"),
    [(Label.GGO, "ggo_ml", 0.1), (Label.CONSOLIDATION, "consolidation_ml", 0.25)],
)
def test_the_classes_are_told_apart(
    phantom: Phantom, found: Measurements, label: Label, field: str, margin: float
) -> None:
    # The split is what the model does worst, here as on patients: some consolidation becomes GGO.
    true = phantom.volumes_ml[label]
    assert getattr(found.both, field) == pytest.approx(true, rel=margin)


def test_more_is_diseased_on_the_left(found: Measurements) -> None:
    assert found.left.ggo_ml > 1.5 * found.right.ggo_ml
    assert found.left.consolidation_ml > found.right.consolidation_ml
