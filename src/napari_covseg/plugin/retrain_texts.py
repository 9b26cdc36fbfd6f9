"""What the Retrain panel says before it begins: on whom, how long, how sure. Without Qt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from napari_covseg.plugin import preferences
from napari_covseg.plugin.expected_time import duration, expected_seconds
from napari_covseg.plugin.retraining import FEWEST_PATIENTS, Material

if TYPE_CHECKING:
    from napari_covseg.models.device import Device

SECONDS_PER_STEP = {"cuda": 0.08, "mps": 0.4}
CPU_SECONDS_PER_STEP_AND_CORE = 1.2
"""First guesses, of the package's own network, for a device that never retrained."""
STARTING_S = 15.0
"""Of a process that loads its libraries, and of reading the cases."""
_VALIDATIONS, _SHARES = 4, 4


def forecast(material: Material, device: Device, minutes: float | None = None) -> float:
    """Seconds that a retraining will take, after what earlier ones took on this device.

    Parameters
    ----------
    material
        What the store has.
    device
        Where it will run.
    minutes
        For each training; None: as suits the device.
    """
    return _guess(material, device, minutes) * (preferences.load_rate(_name(device)) or 1.0)


def learn(material: Material, device: Device, minutes: float | None, seconds: float) -> None:
    """Remember how long a retraining took, against what was guessed."""
    preferences.save_rate(_name(device), seconds / _guess(material, device, minutes))


def _guess(material: Material, device: Device, minutes: float | None) -> float:
    from napari_covseg.workflows.fine_tuning import EFFORTS
    from napari_covseg.workflows.segment_settings import SegmentSettings

    effort = EFFORTS[device.kind]
    step = SECONDS_PER_STEP.get(
        device.kind, CPU_SECONDS_PER_STEP_AND_CORE / max(1, os.cpu_count() or 2)
    )
    limit = 60 * (effort.minutes / material.trainings if minutes is None else minutes)
    training = min(effort.epochs * effort.batches * step, limit or float("inf"))
    flips = SegmentSettings().flips
    # Old and new model; while it trains, and with four shares of the new weights.
    grids = 2 * material.measured + (_VALIDATIONS + _SHARES) * material.chosen_by
    measuring = sum(expected_seconds(one, flips, device.title) for one in grids)
    return STARTING_S + material.trainings * training + measuring


def _name(device: Device) -> str:
    return f"retrain {device.title}"


def run_text(material: Material, device: Device | None, minutes: float | None) -> str:
    """What the button says, in two lines: the dock is narrow."""
    cases = f"{material.cases} accepted case{'' if material.cases == 1 else 's'}"
    if device is None:
        return f"Retrain on {cases}"
    where = "CPU" if device.kind == "cpu" else device.title
    return f"Retrain on {cases},\nabout {duration(forecast(material, device, minutes))} on {where}"


def why_not(material: Material) -> str:
    """What has to be done before a retraining makes sense; empty if nothing."""
    if not material.cases:
        return (
            "No case of this store is accepted yet. Correct a case and accept it (Dataset); "
            "what is accepted is trained on."
        )
    if material.patients < FEWEST_PATIENTS:
        return (
            "All accepted cases are of one patient. Accept a case of a second one: a model is "
            "measured on patients it has not trained on."
        )
    return ""


def roles_text(material: Material) -> str:
    """Who trains, who validates and who measures."""
    cases, patients = material.cases, material.patients
    head = f"{cases} accepted case{_s(cases)} of {patients} patient{_s(patients)}: "
    if material.in_turn:
        return (
            f"{head}all train, and each is left out of one more training in turn, to measure "
            "(five or more patients are better)."
        )
    validate = f"{material.validating} validate{_3(material.validating)}, "
    if not material.validating:
        validate = "nobody validates (from six patients on), "
    still = "" if material.drawn else " New patients are drawn at the start, for good."
    return (
        f"{head}{material.training} train{_3(material.training)}, {validate}{material.held_out} "
        f"held out measure{_3(material.held_out)} and never train.{still}"
    )


def certainty_text(material: Material) -> str:
    """How sure a decision over so many patients is, in the gate's own words."""
    from napari_covseg.cases.gate import Way, certainty

    if material.in_turn:
        return certainty(material.patients, Way.FOLDS)
    return certainty(material.held_out, Way.HELD_OUT)


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _3(count: int) -> str:
    return "s" if count == 1 else ""
