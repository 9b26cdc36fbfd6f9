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


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        ((Label.GGO,), "ggo_ml"),
        ((Label.CONSOLIDATION,), "consolidation_ml"),
        ((Label.GGO, Label.CONSOLIDATION), "lesions_ml"),
    ],
)
def test_lesions_within_8_percent(
    phantom: Phantom, found: Measurements, labels: tuple[Label, ...], field: str
) -> None:
    # Readers draw lesions a little generously, and so does the model: a fifth of a pixel here.
    true = sum(phantom.volumes_ml[label] for label in labels)
    assert getattr(found.both, field) == pytest.approx(true, rel=0.08)


def test_more_is_diseased_on_the_left(found: Measurements) -> None:
    assert found.left.ggo_ml > 1.5 * found.right.ggo_ml
    assert found.left.consolidation_ml > found.right.consolidation_ml
