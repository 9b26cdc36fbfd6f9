"""What to cross-validate, and what a fold of it is asked to do, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.domain.labels import Label
from napari_covseg.training.schedules import PRESETS, Preset
from napari_covseg.workflows.train_request import TrainRequest


@dataclass(frozen=True)
class CrossvalRequest:
    """What to cross-validate.

    Parameters
    ----------
    data
        An nnU-Net v2 raw dataset, or a folder of several.
    output
        Folder for the report, the folds' models and states, and the predictions.
    preset
        Every setting of the trainings.
    folds
        How many, by patient.
    splits
        Where the folds are kept once drawn; ``splits.json`` in the output folder if it is not
        given. Folds that the file holds are used as they are.
    turned_round
        Train on each fold's small part and measure on the others (Müller et al.: 20 % and 80 %).
    postprocess
        Measure the whole pipeline's label maps instead of the network's own output.
    devices
        Names as of `choose_device`; several train folds beside one another, each in a process of
        its own. ``("auto",)`` is every CUDA card there is, else the best device.
    patients
        CSV with the columns case and patient, where it is not beside the data.
    cache
        Folder for prepared cases; ``cache`` in the output folder if it is not given.
    tensorboard
        Write TensorBoard's logs where it is installed.
    label_map, window
        What label values and grey levels mean, as of `TrainRequest`.
    """

    data: Path
    output: Path
    preset: Preset = field(default_factory=lambda: PRESETS["fast"])
    folds: int = 5
    splits: Path | None = None
    turned_round: bool = False
    postprocess: bool = False
    devices: tuple[str, ...] = ("auto",)
    patients: Path | None = None
    cache: Path | None = None
    tensorboard: bool = True
    label_map: Mapping[int, Label] | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class FoldRequest:
    """Train and measure fold ``number`` (from 1).

    ``tested`` are the cases to measure; empty: those of validation.
    """

    number: int
    training: TrainRequest
    postprocess: bool
    tested: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "number": self.number,
            "training": self.training.to_dict(),
            "postprocess": self.postprocess,
            "tested": list(self.tested),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> FoldRequest:
        """What `to_dict` wrote."""
        training = TrainRequest.from_dict(content["training"])
        tested = tuple(content["tested"])
        return cls(content["number"], training, content["postprocess"], tested)
