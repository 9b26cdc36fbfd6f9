"""What to pretrain, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.domain.labels import Label
from napari_covseg.training.outcome import FitResult
from napari_covseg.training.pretrain_settings import Pretext
from napari_covseg.training.schedules import PRESETS, Preset


@dataclass(frozen=True)
class PretrainRequest:
    """What to pretrain.

    Parameters
    ----------
    data
        nnU-Net datasets, folders of them, and CTs or folders of CTs.
    output
        Folder for the weights, their logs and their state.
    preset, pretext
        Every setting: the network's and the task's.
    validation
        Names of annotated cases that are held out, whose patients must never be seen.
    device, patients, cache, resume, tensorboard, label_map, window
        As `TrainRequest`; ``patients`` may name CTs without labels too.
    """

    data: tuple[Path, ...]
    output: Path
    preset: Preset = field(default_factory=lambda: PRESETS["fast"])
    pretext: Pretext = field(default_factory=Pretext)
    validation: tuple[str, ...] = ()
    device: str = "auto"
    patients: Path | None = None
    cache: Path | None = None
    resume: bool = False
    tensorboard: bool = True
    label_map: Mapping[int, Label] | None = None
    window: tuple[float, float] | None = None


@dataclass(frozen=True)
class PretrainResult:
    """What came of a pretraining.

    ``labelled`` and ``unlabelled`` count the CTs that were looked at, ``left_out`` those without
    labels that were not since they are held out; ``tensors`` is what a training can take over.
    """

    folder: Path
    fit: FitResult
    labelled: int
    unlabelled: int
    left_out: int
    tensors: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "folder": str(self.folder),
            "loss": self.fit.last.loss,
            "epochs": self.fit.last.epoch,
            "stopped": self.fit.stopped,
            "seconds": self.fit.seconds,
            "images_per_second": self.fit.images_per_second,
            "labelled_cases": self.labelled,
            "unlabelled_cases": self.unlabelled,
            "left_out": self.left_out,
            "tensors": self.tensors,
            "warnings": list(self.warnings),
        }
