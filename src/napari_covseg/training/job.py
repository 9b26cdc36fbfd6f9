"""What a training works on, and whether its folder is one to begin or to go on in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from torch import nn

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.progress import Steps
from napari_covseg.models.device import Device
from napari_covseg.training.learner import Learner, Loss
from napari_covseg.training.outcome import EpochReport
from napari_covseg.training.parallel import Alone, Parallel
from napari_covseg.training.prefetch import BatchSource
from napari_covseg.training.schedules import CHANGEABLE, Preset
from napari_covseg.training.state import check_same, read_state
from napari_covseg.training.validation import Case

STATE, LOGS = Path("state") / "training.state", Path("logs")

Publish = Callable[[nn.Module, EpochReport, bool], None]
"""Writes a network; the flag says whether it is the best so far rather than the last."""


@dataclass(frozen=True, eq=False)
class Job:
    """What `fit` works on.

    Parameters
    ----------
    preset, device
        The settings and where to train.
    network, loss
        With fresh weights, on the CPU; ``loss(logits, allowed)``.
    make_source
        A source of batches from a seed; one is made for each thread.
    folder
        Gets ``state/`` and ``logs/``.
    identity
        What else must be the same when the training is resumed (data, split): plain values.
    cases, predict
        What is measured after an epoch, and how classes on a case's grid are found.
    distillation
        Weight of staying with the network as it is given, on cases without labels; 0: none.
    lesions_apart
        Whether the network as it is given can tell GGO from consolidation.
    publish
        Called with `Learner.kept` at the end of epochs.
    make_learner
        Makes what steps change, where that is more than the network and its loss.
    """

    preset: Preset
    device: Device
    network: nn.Module
    loss: Loss
    make_source: Callable[[int], BatchSource]
    folder: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    cases: Sequence[Case] = ()
    predict: Callable[[nn.Module, Any], Steps[NDArray]] | None = None
    distillation: float = 0.0
    lesions_apart: bool = True
    publish: Publish | None = None
    make_learner: Callable[[], Learner] | None = None
    parallel: Parallel = field(default_factory=Alone)
    tensorboard: bool = True
    resume: bool = False


def check_folder(
    folder: Path, preset: Preset, identity: Mapping[str, Any], resume: bool
) -> dict[str, Any] | None:
    """The state to go on from, or None for a new training; `fit` checks the same.

    Raises
    ------
    UsageError, InputError
        As `fit`.
    """
    path = folder / STATE
    if not resume:
        if path.is_file():
            raise UsageError(
                f"{folder.name}: holds a training already; go on with it (--resume) or choose "
                "another folder"
            )
        if any(one.with_suffix(".json").is_file() for one in folder.glob("*.safetensors")):
            raise UsageError(
                f"{folder.name}: holds a model already, which the training would replace; choose "
                "another folder"
            )
    if not path.is_file():
        return None
    state = read_state(path)
    # A setting that an earlier version did not have yet was what is now its default.
    saved = {**Preset().to_dict(), **state["made_for"]}
    check_same(saved, made_for(preset, identity), CHANGEABLE)
    return state


def made_for(preset: Preset, identity: Mapping[str, Any]) -> dict[str, Any]:
    """What must be the same when a training is resumed."""
    return {**preset.to_dict(), **identity}
