"""What to train, and what came of it, as plain values that another process can read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.training.outcome import EpochReport, FitResult
from napari_covseg.training.schedules import PRESETS, Preset


@dataclass(frozen=True)
class TrainRequest:
    """What to train.

    Parameters
    ----------
    data
        An nnU-Net v2 raw dataset, or a folder of several.
    output
        Folder for the model, its logs and its state.
    preset
        Every setting.
    train, validation
        Names of the cases that train and that measure; ``train`` empty takes all others. Without
        ``validation`` nothing is measured.
    name
        Of the model; the output folder's where it is empty.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.
    patients
        CSV with the columns case and patient, where it is not beside the data.
    cache
        Folder for prepared cases, which several trainings may share; ``cache`` in the output
        folder if it is not given.
    resume
        Go on with the training that the folder holds, if it holds one.
    tensorboard
        Write TensorBoard's logs where it is installed.
    label_map
        What the label values mean, instead of the names in ``dataset.json``.
    window
        Hounsfield units of black and white, for images that are not in HU.
    start
        A model to start from, by its name or folder, or the folder of a pretraining, in place of
        fresh weights; it must be of the network, arguments and preparation that the preset says.
    unlabelled
        Names of cases whose labels are not read: on these the network learns to say what the model
        to start from says, so that it forgets less.
    distillation
        Weight of that in the loss.

    Raises
    ------
    UsageError
        If there are such cases and no model to start from or no weight, or the other way round.
    """

    data: Path
    output: Path
    preset: Preset = field(default_factory=lambda: PRESETS["fast"])
    train: tuple[str, ...] = ()
    validation: tuple[str, ...] = ()
    name: str = ""
    device: str = "auto"
    patients: Path | None = None
    cache: Path | None = None
    resume: bool = False
    tensorboard: bool = True
    label_map: Mapping[int, Label] | None = None
    window: tuple[float, float] | None = None
    start: str | None = None
    unlabelled: tuple[str, ...] = ()
    distillation: float = 0.0

    def __post_init__(self) -> None:
        if bool(self.unlabelled) != (0 < self.distillation < math.inf):
            raise UsageError(
                f"distillation={self.distillation:g} with {len(self.unlabelled)} cases without "
                "labels: expected both, or neither"
            )
        if self.unlabelled and self.start is None:
            raise UsageError("distillation needs a model to start from, which teaches")

    @property
    def model_name(self) -> str:
        """The model's name."""
        return self.name or self.output.resolve().name or "model"

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        paths = ("data", "output", "patients", "cache")
        content = {**vars(self), "preset": self.preset.to_dict()}
        if self.label_map is not None:
            content["label_map"] = plain_labels(self.label_map)
        return {k: str(v) if k in paths and v is not None else v for k, v in content.items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainRequest:
        """What `to_dict` wrote."""
        values = dict(content)
        for name in ("data", "output", "patients", "cache"):
            values[name] = None if values[name] is None else Path(values[name])
        for name in ("train", "validation", "unlabelled"):
            values[name] = tuple(values[name])
        values["preset"] = Preset.from_dict(values["preset"])
        if values["window"] is not None:
            low, high = values["window"]
            values["window"] = (float(low), float(high))
        if values["label_map"] is not None:
            read = {int(k): Label(label) for k, label in values["label_map"].items()}
            values["label_map"] = read
        return cls(**values)


def plain_labels(label_map: Mapping[int, Label]) -> dict[str, int]:
    """A label map as plain values, for JSON and hashes."""
    return {str(value): int(label) for value, label in label_map.items()}


@dataclass(frozen=True)
class TrainResult:
    """What came of a training.

    ``model`` is the card of the network at the end, which stands for the training; ``best`` that of
    the best epoch. It was chosen by the very cases it was measured on, so its figures flatter.
    ``origin`` says whose weights it began with; empty where they were its own.
    """

    model: Path
    best: Path | None
    fit: FitResult
    training_cases: int
    validation_cases: int
    warnings: tuple[str, ...] = ()
    origin: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        fit = {**asdict(self.fit), "last": self.fit.last.to_dict()}
        fit["best"] = self.fit.best.to_dict() if self.fit.best else None
        return {
            "model": str(self.model),
            "best": str(self.best) if self.best else None,
            "fit": fit,
            "training_cases": self.training_cases,
            "validation_cases": self.validation_cases,
            "warnings": list(self.warnings),
            "origin": self.origin,
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TrainResult:
        """What `to_dict` wrote."""
        fit = dict(content["fit"])
        fit["last"] = EpochReport.from_dict(fit["last"])
        fit["best"] = EpochReport.from_dict(fit["best"]) if fit["best"] else None
        fit["notes"] = tuple(fit["notes"])
        best = Path(content["best"]) if content["best"] else None
        return cls(
            Path(content["model"]),
            best,
            FitResult(**fit),
            content["training_cases"],
            content["validation_cases"],
            tuple(content["warnings"]),
            content.get("origin", ""),
        )
