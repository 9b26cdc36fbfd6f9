"""Lesion detection and COVID-CT-Mask-Net on the development data: figures of docs/results.md.

    python -m benchmarks.detection DATA --networks DIR --output DIR [--folds 0 ...] [--rows ROW ...]

DATA is the folder with ``covid_ct/`` and ``images/``; ``--networks`` has for each fold K of
``development_splits.json`` a folder K with a segmentation network that never saw the fold's
patients (``make train``). Rows, each measured on the slices of ``medseg`` and ``sirm`` of a fold's
patients, by one code:

- ``components``: connected bodies of what the segmentation network says, with the mean probability
  of their class as score; nothing is trained;
- ``lite0``: the detector on that network; ``resnet18``: one from fresh weights, as many steps;
- ``mask-net-ct``, ``mask-net-xray``: COVID-CT-Mask-Net on the first fold's ``lite0``.

What is finished is not run again, what was interrupted goes on. ``--report`` prints what is there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.classification import write_ct, write_xray
from napari_covseg.cli.long_work import run_stoppable
from napari_covseg.inference.detect_slice import detect_in_slice
from napari_covseg.io.atomic import write_json
from napari_covseg.io.nnunet import read_datasets
from napari_covseg.models.device import choose_device
from napari_covseg.models.lesion_bodies import LEAST_PIXELS, LesionBodies
from napari_covseg.models.zoo import load
from napari_covseg.preprocess.recipe import AxialRecipe
from napari_covseg.training.cases import load_cases
from napari_covseg.training.detect_learner import measure_findings
from napari_covseg.training.detect_settings import PRESETS, DetectPreset
from napari_covseg.training.mask_net_settings import PRESETS as MASK_NETS
from napari_covseg.training.mask_net_settings import MaskNetPreset
from napari_covseg.workflows.detect_figures import figures_of
from napari_covseg.workflows.detect_train import DetectTrainRequest, train_detector
from napari_covseg.workflows.mask_net import MaskNetRequest, train_mask_net

SETS = ("medseg", "sirm")
SPLITS = Path(__file__).with_name("development_splits.json")
RESULT, CACHE = "logs/result.json", "cache"
_BUDGET: dict[str, Any] = {
    "epochs": 12,
    "validate_every": 12,
    "dataset_weights": {"medseg": 0.6, "sirm": 0.4},
}
LITE = replace(PRESETS["lite0"], **_BUDGET)
DETECTORS: dict[str, DetectPreset] = {
    "lite0": LITE,
    "resnet18": replace(
        PRESETS["scratch"],
        **_BUDGET,
        **{name: getattr(LITE, name) for name in ("channels", "mask_channels", "regions")},
        **{name: getattr(LITE, name) for name in ("patch", "batches", "batch")},
    ),
}
"""Settings of the trainings: few steps, for two CPU cores."""
_S = replace(MASK_NETS["fast"], size=192, epochs=20, validate_every=20)
CLASSIFIERS: dict[str, tuple[Callable[[Path, Path], None], MaskNetPreset]] = {
    "mask-net-ct": (write_ct, _S),
    "mask-net-xray": (write_xray, _S),
}
ROWS = ("components", *DETECTORS, *CLASSIFIERS)


@dataclass(frozen=True)
class Place:
    """Where things are."""

    data: Path
    networks: Path
    output: Path

    def folder(self, row: str, fold: int) -> Path:
        """Of a row's results."""
        return self.output / f"{row}_{fold}"


def main() -> None:
    """Run what is asked for and not there yet; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--networks", type=Path, default=Path("build/networks"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--report", action="store_true", help="only print what is there")
    args = parser.parse_args()
    place = Place(args.data, args.networks, args.output)
    for row in () if args.report else args.rows:
        for fold in args.folds if row not in CLASSIFIERS else args.folds[:1]:
            if not (place.folder(row, fold) / RESULT).is_file():
                print(f"{row}, fold {fold}", file=sys.stderr)
                run_row(place, row, fold)
    print(report(place.output))


def run_row(place: Place, row: str, fold: int) -> None:
    """Train, if that is what the row does, and measure."""
    folder = place.folder(row, fold)
    if row in CLASSIFIERS:
        write, preset = CLASSIFIERS[row]
        images = place.output / "sets" / row
        images.mkdir(parents=True, exist_ok=True)
        write(place.data, images)
        leave_out_shared(images / "labels.csv")
        detector = str(place.folder("lite0", fold))
        wanted = MaskNetRequest(images, folder, preset, detector=detector, resume=True)
        run_stoppable(train_mask_net(wanted), "cancelled: the same command goes on")
        return
    train, validation = fold_cases(place.data, fold)
    if row == "components":
        figures = components_figures(place, validation, fold)
        (folder / RESULT).parent.mkdir(parents=True, exist_ok=True)
        write_json(folder / RESULT, {"figures": figures})
        return
    request = DetectTrainRequest(
        place.data / "covid_ct",
        folder,
        DETECTORS[row],
        start=str(place.networks / str(fold)) if DETECTORS[row].from_segmentation else "",
        train=train,
        validation=validation,
        name=f"{row}-{fold}",
        cache=place.output / CACHE,
        resume=True,
    )
    run_stoppable(train_detector(request), "cancelled: the same command goes on")


def leave_out_shared(labels: Path) -> None:
    """Pictures of a group (paper, source) on the measuring side do not train."""
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    measuring = {row["group"] for row in rows if row["split"] == "val"}
    kept = [row for row in rows if row["split"] != "train" or row["group"] not in measuring]
    with labels.open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(kept)


def fold_cases(data: Path, fold: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The cases of medseg and sirm that train, and those that measure."""
    folds = json.loads(SPLITS.read_text())["cases"]
    sets = [one for one in read_datasets(data / "covid_ct") if one.name in SETS]
    names = [case.name for one in sets for case in one.cases]
    held = tuple(name for name in names if folds[name]["fold"] == fold)
    return tuple(name for name in names if name not in held), held


def components_figures(place: Place, names: tuple[str, ...], fold: int) -> dict[str, Any]:
    """Of the segmentation network's connected bodies."""
    model = load(place.networks / str(fold))
    assert isinstance(model.recipe, AxialRecipe)
    sets = [one for one in read_datasets(place.data / "covid_ct") if one.name in SETS]
    chosen = [
        replace(one, cases=tuple(case for case in one.cases if case.name in names)) for one in sets
    ]
    cases = run_stoppable(load_cases(chosen, model.recipe, place.output / CACHE), "cancelled")

    find = partial(detect_in_slice, LesionBodies(model.network), device=choose_device("cpu"))
    measuring = measure_findings(find, cases, LEAST_PIXELS)
    masks, boxes, patients = run_stoppable(measuring, "cancelled")
    return {"masks": figures_of(masks, patients, 0), "boxes": figures_of(boxes, patients, 0)}


def report(output: Path) -> str:
    """The tables of what is there."""
    lines = [
        "| row | fold | patients, slices | of | class | lesions | AP 0.5 | AP 0.75 | AP 0.5:0.95 |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in ROWS[: -len(CLASSIFIERS)]:
        for path in sorted(output.glob(f"{row}_*/{RESULT}")):
            fold = path.parent.parent.name.removeprefix(f"{row}_")
            for kind, found in json.loads(path.read_text())["figures"].items():
                for name in ("ggo", "consolidation", "mean"):
                    one, n = found[name], f"{found['patients']}, {found['slices']}"
                    shown = (_shown(one[key]) for key in ("ap50", "ap75", "ap"))
                    cells = [row, fold, n, kind, name, str(one["lesions"]), *shown]
                    lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "| row | n | accuracy | F1, class-adjusted | class | sensitivity | precision | AUC |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in CLASSIFIERS:
        for path in sorted(output.glob(f"{row}_*/{RESULT}")):
            content = json.loads(path.read_text())
            found = content["figures"]
            for name, one in found["classes"].items():
                head = [row, f"{one['pictures']} of {content['measured_pictures']}"]
                both = [f"{found[key]:.3f}" for key in ("accuracy", "f1_adjusted")]
                told = [_plain(one[key]) for key in ("sensitivity", "precision", "auc")]
                lines.append(f"| {' | '.join([*head, *both, name, *told])} |")
    return "\n".join(lines)


def _plain(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _shown(figure: dict[str, Any]) -> str:
    text, interval = _plain(figure["value"]), figure["interval95"]
    return text if interval is None else f"{text} ({interval[0]:.3f} to {interval[1]:.3f})"


if __name__ == "__main__":
    main()
