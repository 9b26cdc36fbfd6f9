"""The random generators of a process that trains: seeds of their own, and a state to go on from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from napari_covseg.models.device import Device


def source_seed(seed: int, rank: int, lane: int) -> int:
    """A number of its own for every source, whatever the seed: sums of the three would repeat."""
    return int(np.random.SeedSequence([seed, rank, lane]).generate_state(1)[0])


def random_state(device: Device) -> dict[str, torch.Tensor]:
    """States of torch's generators in this process, on the CPU."""
    state = {"random": torch.get_rng_state()}
    if device.kind == "cuda":
        state["random_cuda"] = torch.cuda.get_rng_state(device.name)
    return state


def set_random_state(device: Device, state: Mapping[str, Any]) -> None:
    """Go on from `random_state`; a generator that it does not hold stays as it is."""
    torch.set_rng_state(state["random"])
    if device.kind == "cuda" and "random_cuda" in state:
        torch.cuda.set_rng_state(state["random_cuda"], device.name)
