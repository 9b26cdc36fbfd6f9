import torch

from napari_covseg.domain.labels import NetworkClass
from napari_covseg.inference.decide import decide


def _decided(*share: float) -> NetworkClass:
    return NetworkClass(int(decide(torch.tensor(share)[None, :, None])[0, 0]))


def test_the_most_probable_class_wins_where_one_does() -> None:
    assert _decided(0.7, 0.1, 0.1, 0.1) is NetworkClass.BACKGROUND
    assert _decided(0.1, 0.7, 0.1, 0.1) is NetworkClass.LUNG
    assert _decided(0.1, 0.1, 0.7, 0.1) is NetworkClass.GGO
    assert _decided(0.1, 0.1, 0.1, 0.7) is NetworkClass.CONSOLIDATION


def test_doubt_about_the_class_of_a_lesion_does_not_make_it_lung() -> None:
    assert _decided(0.0, 0.45, 0.3, 0.25) is NetworkClass.GGO
    assert _decided(0.0, 0.45, 0.25, 0.3) is NetworkClass.CONSOLIDATION
    assert _decided(0.0, 0.55, 0.25, 0.2) is NetworkClass.LUNG
    assert _decided(0.3, 0.3, 0.2, 0.2) is NetworkClass.GGO
    assert _decided(0.41, 0.2, 0.2, 0.19) is NetworkClass.BACKGROUND


def test_sums_of_several_views_are_decided_as_their_mean() -> None:
    share = torch.rand(2, 4, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    assert torch.equal(decide(4 * share), decide(share))
    assert decide(share).shape == (2, 5, 6, 7)
    assert decide(share).unique().tolist() == [0, 1, 2, 3]
