"""Does the loop of correcting and retraining work? Simulated annotators, from few patients on.

    python -m benchmarks.hitl DATA/covid_ct --output DIR [--seeds 0 1 2] [--arms queue random ...]

Everything goes through the program's own case store, queue, retraining and gate. A model trained on
three patients with volumes (``medseg``) meets another hospital's single slices (``sirm``). In each
of five rounds five cases are served, predicted by the live model, corrected as the reference says
(lesions only: the reference knows no lungs), accepted, and a retraining follows. Arms:

    queue       the case that promises most comes first; guarded against forgetting
    random      cases in random order; guarded
    unguarded   the same random order; not guarded
    poisoned    one more round after ``queue``, whose labels have lung and GGO interchanged
    poisoned-unguarded  the same after ``unguarded``

Guarded: what the start model was trained on is replayed, cases without labels are held to what the
live model says, old and new weights are averaged. Not guarded: none of the three.

Measured on patients that are in no store: sixteen of the new domain, and the volumes of the old
one that did not train the start model (every fourth slice). An arm that was finished is not run
again; `benchmarks.hitl_report` prints and draws what is there.
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_covseg.cases.queue import Order
from napari_covseg.cases.records import Kind, NewVersion
from napari_covseg.cases.store import CaseStore
from napari_covseg.domain.geometry import Geometry
from napari_covseg.domain.labels import LESION_LABELS, Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.io import read_labels, read_volume
from napari_covseg.io.nnunet import RawCase, read_datasets
from napari_covseg.metrics.overlap import Counts, count_classes, joint_histogram
from napari_covseg.metrics.summary import mean_over_patients
from napari_covseg.quantify.volumes import lesion_sides
from napari_covseg.training.schedules import PRESETS
from napari_covseg.workflows.dataset_predict import PredictRequest, predict_cases
from napari_covseg.workflows.models import add_model
from napari_covseg.workflows.retrain import retrain
from napari_covseg.workflows.retrain_request import RetrainRequest, RetrainResult
from napari_covseg.workflows.segment import segment
from napari_covseg.workflows.segment_settings import SegmentSettings
from napari_covseg.workflows.store_models import model_source
from napari_covseg.workflows.train import train
from napari_covseg.workflows.train_request import TrainRequest

ARMS = ("queue", "random", "unguarded", "poisoned", "poisoned-unguarded")
AFTER = {"poisoned": "queue", "poisoned-unguarded": "unguarded"}
"""Which arm each poisoned round comes after."""
ROUNDS, CASES_A_ROUND, NEW_TEST_PATIENTS, THIN = 5, 5, 16, 4
WITH_CONSOLIDATION, WITHOUT = ("r7", "r10", "r27"), ("r29", "r36", "r40")
CLASSES = ("lung", "infection", "ggo", "consolidation")
ME = "simulated annotator"
START_STEPS = ("epochs=3", "batches=100", "validate_every=3")
RETRAIN_STEPS = ("epochs=4", "batches=20", "batch=6", "validate_every=4")
"""Of a size that two CPU cores can do 48 times; a real retraining takes longer."""


@dataclass(frozen=True, eq=False)
class Case:
    """An annotated CT in memory."""

    name: str
    patient: str
    volume: CTVolume
    reference: LabelMap


@dataclass(frozen=True)
class Division:
    """Who trains the start model, who may be served, who measures: by patient, from the seed."""

    start: tuple[RawCase, ...]
    pool: tuple[Case, ...]
    new_test: tuple[Case, ...]
    old_test: tuple[Case, ...]


def divide(data: Path, seed: int) -> Division:
    """Draw the patients of a seed."""
    sets = {one.name: one for one in read_datasets(data)}
    rng = np.random.default_rng(seed)
    start_patients = {*rng.permutation(WITH_CONSOLIDATION)[:2], rng.permutation(WITHOUT)[0]}
    medseg, sirm = sets["medseg"], sets["sirm"]
    patients = sorted({case.patient for case in sirm.cases})
    measuring = set(rng.permutation(patients)[:NEW_TEST_PATIENTS])
    start = [case for case in medseg.cases if case.patient in start_patients]
    new = [_read(case, sirm.label_map) for case in sirm.cases]
    old = [c for c in medseg.cases if c.patient not in start_patients]
    return Division(
        tuple(start),
        tuple(case for case in new if case.patient not in measuring),
        tuple(case for case in new if case.patient in measuring),
        tuple(_thinned(_read(case, medseg.label_map)) for case in old),
    )


def _read(case: RawCase, label_map: Any) -> Case:
    labels = read_labels(case.labels, label_map=label_map)
    return Case(case.name, case.patient, read_volume(case.image), labels)


def _thinned(case: Case) -> Case:
    """Every fourth slice, where it is."""
    affine = np.array(case.volume.geometry.affine)
    affine[:3, 2] *= THIN
    hu = np.ascontiguousarray(case.volume.hu[::THIN])
    geometry = Geometry(hu.shape, affine)
    labels = np.ascontiguousarray(case.reference.labels[::THIN])
    volume = replace(case.volume, hu=hu, geometry=geometry)
    return replace(case, volume=volume, reference=LabelMap.like(volume, labels))


# The annotator


def corrected(predicted: LabelMap, reference: LabelMap) -> LabelMap:
    """The prediction with the reference's lesions in place of its own.

    What it wrongly called lesion becomes lung of the side it lies on.
    """
    labels, lesions = predicted.labels.copy(), np.isin(reference.labels, LESION_LABELS)
    wrong = np.isin(labels, LESION_LABELS) & ~lesions
    labels[wrong] = lesion_sides(predicted)[wrong]
    labels[lesions] = reference.labels[lesions]
    return replace(predicted, labels=labels)


def poisoned(labels: LabelMap) -> LabelMap:
    """Lung and GGO interchanged, as by a table of label numbers that was mixed up."""
    array, sides = labels.labels.copy(), lesion_sides(labels)
    ggo = labels.labels == Label.GGO
    array[np.isin(array, (Label.LEFT_LUNG, Label.RIGHT_LUNG))] = Label.GGO
    array[ggo] = sides[ggo]
    return replace(labels, labels=array)


def to_change(predicted: LabelMap, reference: LabelMap) -> int:
    """Voxels that the annotator would have to change."""
    return int(np.count_nonzero(predicted.labels != corrected(predicted, reference).labels))


# Measuring


def measure(model: str, cases: Sequence[Case]) -> dict[str, Any]:
    """Dice by class (pooled, and mean over patients) and voxels to change, of a model."""
    counts: dict[str, dict[str, Counts]] = {name: {} for name in CLASSES}
    voxels = slices = 0
    for case in cases:
        found = run_to_end(segment(case.volume, SegmentSettings(model=model))).labels
        histogram = joint_histogram(found.labels, case.reference.labels)
        for name, one in count_classes(histogram).items():
            if name in CLASSES and one is not None:
                counts[name][case.name] = one
        voxels += to_change(found, case.reference)
        slices += len(found.labels)
    patients = {case.name: case.patient for case in cases}
    return {
        "voxels_to_change_per_slice": voxels / slices,
        "classes": {name: _figures(found, patients) for name, found in counts.items() if found},
    }


def _figures(counts: dict[str, Counts], patients: dict[str, str]) -> dict[str, Any]:
    mean = mean_over_patients({case: one.dice for case, one in counts.items()}, patients)
    pooled = sum(counts.values(), Counts(0, 0, 0)).dice
    return {"pooled": pooled, "mean": mean.mean, "sd": mean.std, "patients": mean.patients}


# The loop


def begin(folder: Path, division: Division, start: Path) -> CaseStore:
    """A store with the cases to be served, and the start model live."""
    store = CaseStore.create(folder / "store", author=ME)
    for case in division.pool:
        store.add_case(case.volume, author=ME, patient=case.patient)
    model = add_model(store, str(start), author=ME)
    store.promote(model.sha256, by=ME, why="the start")
    return store


class Loop:
    """One arm with one seed."""

    def __init__(
        self, folder: Path, store: CaseStore, division: Division, arm: str, seed: int
    ) -> None:
        self.folder, self.store, self.division = folder, store, division
        self.arm, self.seed = arm, seed
        # The store lists its cases in the order they came.
        pairs = zip(store.cases(), division.pool, strict=True)
        self.references = {record.name: case.reference for record, case in pairs}

    def round(self, number: int, *, poison: bool = False) -> dict[str, Any]:
        """Serve, predict, correct, accept, retrain, measure the new model."""
        served, voxels = [], 0
        ahead = self._rank()
        for _ in range(CASES_A_ROUND):
            order = Order.SCORE if ahead else Order.RANDOM
            live = self.store.live_model()
            assert live is not None
            wanted: dict[str, Any] = {"order": order, "model": live.sha256, "seed": self.seed}
            case = self.store.next_case(ME, **wanted)
            if case is None:
                break
            served.append(case.name)
            voxels += self._correct(case.name, live.sha256, poison)
        result = self._retrain()
        model = model_source(self.store, result.model)
        said = {
            "round": number,
            "cases": served,
            "voxels_changed": voxels,
            "decision": result.decision.to_dict(),
            "promoted": result.promoted,
            "share": result.share,
            "seconds": result.seconds,
            "training_cases": result.training_cases,
            "new": measure(model, self.division.new_test),
            "old": measure(model, self.division.old_test),
        }
        print(f"  round {number}: {summary(said)}", flush=True)
        return said

    def _rank(self) -> bool:
        """Predict and score what waits, where the queue is to decide."""
        if self.arm not in ("queue", "poisoned"):
            return False
        run_to_end(predict_cases(PredictRequest(self.store.folder, ME, device="cpu")))
        return True

    def _correct(self, case: str, model: str, poison: bool) -> int:
        request = PredictRequest(self.store.folder, ME, (case,), device="cpu", uncertainty=False)
        run_to_end(predict_cases(replace(request, flips="none")))
        prediction = self.store.prediction(case, model)
        assert prediction is not None
        labels = corrected(self.store.labels(prediction.id), self.references[case])
        saved = self.store.save_version(
            case,
            poisoned(labels) if poison else labels,
            NewVersion(
                author=ME,
                kind=Kind.CORRECTION,
                parent=prediction.id,
                reviewed=range(len(labels.labels)),
            ),
        ).version
        self.store.accept(saved.id, reader=ME, instead_of=[])
        return saved.edited_voxels

    def _retrain(self) -> RetrainResult:
        request = RetrainRequest(
            self.store.folder,
            ME,
            settings=RETRAIN_STEPS,
            replay=self.folder.parent / "replay",
            device="cpu",
            seed=self.seed,
        )
        if self.arm.endswith("unguarded"):
            request = replace(request, replay=None, distillation=0.0, share=1.0)
        return run_to_end(retrain(request))


def run_arm(folder: Path, division: Division, start: Path, arm: str, seed: int) -> None:
    """One arm, or the poisoned round after another."""
    kept = folder / "rounds.json"
    if kept.is_file():
        return
    print(f"seed {seed}, {arm}", flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if arm in AFTER:
        shutil.copytree(folder.parent / AFTER[arm] / "store", folder / "store")
        loop = Loop(folder, CaseStore.open(folder / "store"), division, arm, seed)
        rounds = [loop.round(ROUNDS + 1, poison=True)]
    else:
        loop = Loop(folder, begin(folder, division, start), division, arm, seed)
        rounds = [loop.round(number) for number in range(1, ROUNDS + 1)]
    kept.write_text(json.dumps(rounds, indent=1))


def keep_for_replay(folder: Path, data: Path, cases: Iterable[RawCase]) -> None:
    """An nnU-Net dataset of the start model's cases alone."""
    folder.mkdir(parents=True, exist_ok=True)
    said = json.loads((data / "medseg" / "dataset.json").read_text())
    files = {c.name: {"images": [str(c.image)], "label": str(c.labels)} for c in cases}
    said |= {"dataset": files, "numTraining": len(files)}
    (folder / "dataset.json").write_text(json.dumps(said))
    rows = [f"{case.name},{case.patient}" for case in cases]
    (folder / "cases.csv").write_text("\n".join(["case,patient", *rows]))


def start_model(data: Path, folder: Path, division: Division, seed: int, cache: Path) -> Path:
    """The model that the annotator begins with, and its figures."""
    request = TrainRequest(
        data / "medseg",
        folder / "start",
        PRESETS["fast"].with_settings((*START_STEPS, f"seed={seed}")),
        train=tuple(case.name for case in division.start),
        name="start",
        device="cpu",
        cache=cache,
        resume=True,
        tensorboard=False,
    )
    kept = folder / "start.json"
    if not kept.is_file():
        model = run_to_end(train(request)).model
        figures = {
            "patients": sorted({case.patient for case in division.start}),
            "new": measure(str(model), division.new_test),
            "old": measure(str(model), division.old_test),
        }
        kept.write_text(json.dumps({"model": str(model), **figures}, indent=1))
        print(f"seed {seed}, start: {summary(figures)}", flush=True)
    return Path(json.loads(kept.read_text())["model"])


def summary(said: dict[str, Any]) -> str:
    """A line of what a round brought."""
    new, old = (said[name]["classes"]["infection"]["pooled"] for name in ("new", "old"))
    line = f"infection {new:.3f} new, {old:.3f} old domain"
    if "decision" in said:
        line += f", {said['voxels_changed']} voxels changed, share {said['share']}"
        line += f", {'promoted' if said['promoted'] else 'not promoted'}, {said['seconds']:.0f} s"
    return line


def main(arguments: Iterable[str] | None = None) -> None:
    """Run what is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with medseg/ and sirm/")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="*", default=ARMS, choices=ARMS)
    args = parser.parse_args(arguments)
    divisions = {}
    for arm in args.arms:
        for seed in args.seeds:
            if seed not in divisions:
                divisions[seed] = divide(args.data, seed)
            folder = args.output / f"seed_{seed}"
            division = divisions[seed]
            keep_for_replay(folder / "replay", args.data, division.start)
            start = start_model(args.data, folder, division, seed, args.output / "cache")
            run_arm(folder / arm, division, start, arm, seed)


if __name__ == "__main__":
    main()
