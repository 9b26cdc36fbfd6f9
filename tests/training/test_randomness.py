import pytest
import torch

from napari_covseg.models.device import Device
from napari_covseg.training.randomness import random_state, set_random_state, source_seed

CPU = Device("cpu", "CPU")


def test_numbers_go_on_where_the_state_was_taken() -> None:
    state = random_state(CPU)
    first = torch.rand(3)
    assert not torch.equal(torch.rand(3), first)
    set_random_state(CPU, state)
    assert torch.equal(torch.rand(3), first)


def test_a_card_has_a_generator_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = {"cuda:0": torch.tensor([10]), "cuda:1": torch.tensor([11])}
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda name: cards[name].clone())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda s, name: cards.update({name: s}))
    card = Device("cuda:1", "a card")
    state = random_state(card)
    cards["cuda:1"] = torch.tensor([99])
    set_random_state(card, state)
    assert [cards[name].item() for name in sorted(cards)] == [10, 11]
    cards["cuda:1"] = torch.tensor([99])
    set_random_state(card, {"random": state["random"]})
    assert cards["cuda:1"].item() == 99
    assert "random_cuda" not in random_state(CPU)


def test_sources_have_seeds_of_their_own() -> None:
    seeds = {source_seed(s, rank, lane) for s in (0, 1, 1000) for rank in (0, 1) for lane in (0, 1)}
    assert len(seeds) == 12
