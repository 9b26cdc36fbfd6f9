from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from napari_covseg.domain.labels import Label, NetworkClass
from napari_covseg.domain.progress import Progress, run_to_end
from napari_covseg.training.averaging import DEFAULT_SHARE, averaged, choose_share


@dataclass
class Case:
    name: str
    patient: str
    codes: np.ndarray


def network(weight: float) -> nn.Module:
    made = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        for value in made.state_dict().values():
            value.fill_(weight) if value.is_floating_point() else value.fill_(int(weight))
    return made


def test_weights_and_statistics_lie_between() -> None:
    old, new = network(1.0), network(3.0)
    middle = averaged(old, new, 0.25).state_dict()
    assert middle["0.weight"].item() == pytest.approx(1.5)
    assert middle["1.running_var"].item() == pytest.approx(1.5)
    assert middle["1.num_batches_tracked"].item() == 3
    assert averaged(old, new, 1.0).state_dict()["0.bias"].item() == 3.0
    assert old.state_dict()["0.weight"].item() == 1.0
    assert new.state_dict()["0.weight"].item() == 3.0


def _predict(right: dict[float, int]):
    """A network whose weight is a key of ``right`` gets so many voxels of lung right."""

    def predict(net: nn.Module, case: Case) -> Iterator[Progress]:
        yield Progress(0, 1, "")
        classes = np.zeros(case.codes.shape, np.uint8)
        classes.reshape(-1)[: right[round(net[0].weight.item(), 2)]] = NetworkClass.LUNG
        return classes

    return predict


@pytest.mark.parametrize(
    ("right", "share"),
    [({1.5: 2, 2.0: 6, 2.5: 4, 3.0: 1}, 0.5), ({1.5: 2, 2.0: 3, 2.5: 3, 3.0: 3}, 0.5)],
)
def test_validation_chooses_and_of_equals_the_nearest_to_the_old(right, share: float) -> None:
    case = Case("a", "p", np.full((1, 2, 4), Label.LUNG, np.uint8))
    steps = choose_share(network(1.0), network(3.0), [case], _predict(right), "cpu")
    chosen, scores = run_to_end(steps)
    assert chosen == share
    assert list(scores) == [0.25, 0.5, 0.75, 1.0]
    assert scores[0.25] == pytest.approx(2 * 2 / (2 + 8))


def test_cases_that_say_nothing_choose_nothing() -> None:
    case = Case("a", "p", np.full((1, 2, 4), Label.IGNORE, np.uint8))
    right = {1.5: 1, 2.0: 1, 2.5: 1, 3.0: 1}
    steps = choose_share(network(1.0), network(3.0), [case], _predict(right), "cpu")
    assert run_to_end(steps)[0] == DEFAULT_SHARE
