"""Train and measure a network with many settings, and put them into one table.

The output folder holds ``splits.json`` (who trains, validates and tests), ``configuration.json``, a
folder for each row of the table, named by its settings, and the table. The same call again goes on
where the last one stopped; one with more values keeps the rows that are finished.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from napari_covseg.domain.errors import CovsegError, UsageError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.atomic import atomic_file, write_json
from napari_covseg.io.nnunet import RawDataset, read_datasets
from napari_covseg.models.networks import build
from napari_covseg.reports.sweep_table import (
    SweepContent,
    SweepRow,
    sweep_csv,
    sweep_html,
    sweep_markdown,
)
from napari_covseg.training.grids import Grid, expand
from napari_covseg.training.schedules import Preset
from napari_covseg.training.splits import Fold, read_or_draw
from napari_covseg.training.state import check_same
from napari_covseg.workflows.crossval_fold import FoldScores
from napari_covseg.workflows.crossval_request import FoldRequest
from napari_covseg.workflows.crossval_spread import UNITS
from napari_covseg.workflows.fold_runs import (
    CONFIGURATION,
    case_keys,
    named_devices,
    read_configuration,
    run_folds,
)
from napari_covseg.workflows.segment import make_folder
from napari_covseg.workflows.split import SPLIT_SEED
from napari_covseg.workflows.train import CACHE
from napari_covseg.workflows.train_request import TrainRequest, plain_labels

SPLITS, ROWS = "splits.json", "rows"
CSV, MARKDOWN, HTML = "table.csv", "table.md", "table.html"
_MOST_PARTS = 100


@dataclass(frozen=True)
class SweepRequest:
    """What to train.

    Parameters
    ----------
    data
        An nnU-Net v2 raw dataset, or a folder of several.
    output
        Folder for the rows and the table.
    preset, grids
        Settings, and what is varied of them (`training.grids`).
    split
        Shares of the patients that train, validate (the curves) and test (the table); the second
        may be 0.
    splits
        Where the split is kept once drawn; ``splits.json`` in the output folder if it is not given.
    devices, jobs
        Names as of `choose_device`, and how many rows train at once on each.
    postprocess
        Measure the whole pipeline's label maps instead of the network's own output.
    patients, cache, tensorboard, label_map, window
        As of `TrainRequest`.

    Raises
    ------
    UsageError
        If the shares or the number of jobs cannot be.
    """

    data: Path
    output: Path
    preset: Preset
    grids: Sequence[Grid]
    split: tuple[int, int, int] = (70, 10, 20)
    splits: Path | None = None
    devices: tuple[str, ...] = ("auto",)
    jobs: int = 1
    postprocess: bool = False
    patients: Path | None = None
    cache: Path | None = None
    tensorboard: bool = True
    label_map: Mapping[int, Label] | None = None
    window: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        train, validation, test = self.split
        if min(train, test) < 1 or validation < 0 or sum(self.parts) > _MOST_PARTS:
            raise UsageError(
                f"split {train},{validation},{test}: expected shares to train, validate and test, "
                "such as 70,10,20; only the second may be 0"
            )
        if self.jobs < 1:
            raise UsageError(f"{self.jobs} jobs: expected 1 or more")

    @property
    def parts(self) -> tuple[int, int, int]:
        """The split in as few parts as there can be: 70, 10, 20 are 7, 1, 2."""
        train, validation, test = self.split
        common = max(1, math.gcd(train, validation, test))
        return train // common, validation // common, test // common


@dataclass(frozen=True, eq=False)
class SweepResult:
    """The table as data, its files, and why rows failed, by their number."""

    content: SweepContent
    csv: Path
    markdown: Path
    html: Path
    errors: Mapping[int, CovsegError] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """The worst of the rows' errors; 0 if there was none."""
        return max((error.exit_code for error in self.errors.values()), default=0)


def sweep(request: SweepRequest) -> Steps[SweepResult]:
    """Train and measure every row and write the table; closing the generator stops in a step.

    A row that fails does not stop the others; the table says which and why. It is written anew
    with each row that is finished.

    Raises
    ------
    UsageError
        If a setting cannot be used, the output folder holds a sweep on other data, or a device is
        not there.
    InputError
        If the data is not usable, or has too few patients.
    ResourceError
        If the output folder cannot be written to.
    """
    presets = expand(request.preset, request.grids)
    if not presets:
        raise UsageError("nothing to vary: give --grid FIELD=VALUE,..., or a file of them")
    yield Progress(0, 1, "looking at the data")
    datasets = read_datasets(request.data, patients=request.patients, label_map=request.label_map)
    devices = named_devices(request.devices) * request.jobs
    make_folder(request.output)
    patients = {case.name: case.patient for dataset in datasets for case in dataset.cases}
    file = request.splits or request.output / SPLITS
    fold, tested = _split(request.parts, patients, file)
    yield from _check_configuration(request, datasets, fold, tested)
    table = _Table(request, presets, patients, len(tested))
    table.write()
    requests = _row_requests(request, presets, fold, tested)
    _, errors = yield from run_folds(requests, devices, "row", table.finish)
    yield Progress(len(presets) * UNITS, len(presets) * UNITS, "writing the table")
    return table.write(errors)


def row_folder(preset: Preset) -> str:
    """The name of a row's folder: its settings, hashed, but for what changes no result.

    Settings at their default do not count: one that a later version has more leaves the name.
    """
    usual = type(preset)().to_dict()
    said = {k: v for k, v in preset.to_dict().items() if k != "name" and v != usual[k]}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:12]


def _split(
    parts: tuple[int, int, int], patients: Mapping[str, str], file: Path
) -> tuple[Fold, tuple[str, ...]]:
    """Who trains and validates, and who tests: by patient, as parts of as many folds."""
    train, validation, _ = parts
    measured = [fold.validation for fold in read_or_draw(file, patients, sum(parts), SPLIT_SEED)]

    def cases(first: int, end: int) -> tuple[str, ...]:
        return tuple(sorted(case for part in measured[first:end] for case in part))

    seen = train + validation
    return Fold(cases(0, train), cases(train, seen)), cases(seen, len(measured))


def _check_configuration(
    request: SweepRequest, datasets: Sequence[RawDataset], fold: Fold, tested: Sequence[str]
) -> Steps[None]:
    """Refuse a folder whose rows were trained or measured on other data."""
    keys = yield from case_keys(datasets)
    wanted = {
        "label_map": request.label_map and plain_labels(request.label_map),
        "window": request.window and list(request.window),
        "train": list(fold.train),
        "validation": list(fold.validation),
        "test": list(tested),
        "cases": keys,
    }
    saved = read_configuration(request.output)
    if saved is None:
        write_json(request.output / CONFIGURATION, wanted)
    else:
        check_same(saved, wanted)


def _row_requests(
    request: SweepRequest, presets: Sequence[Preset], fold: Fold, tested: tuple[str, ...]
) -> list[FoldRequest]:
    return [
        FoldRequest(
            number,
            TrainRequest(
                data=request.data,
                output=request.output / ROWS / row_folder(preset),
                preset=preset,
                train=fold.train,
                validation=fold.validation,
                patients=request.patients,
                label_map=request.label_map,
                window=request.window,
                cache=request.cache or request.output / CACHE,
                resume=True,
                tensorboard=request.tensorboard,
            ),
            request.postprocess,
            tested,
        )
        for number, preset in enumerate(presets, start=1)
    ]


class _Table:
    """The table under way: written whenever a row is finished."""

    def __init__(
        self,
        request: SweepRequest,
        presets: Sequence[Preset],
        patients: Mapping[str, str],
        tested: int,
    ) -> None:
        self._request, self._patients, self._tested = request, patients, tested
        self._rows = [
            SweepRow(number, row_folder(preset), preset.to_dict(), _parameters(preset))
            for number, preset in enumerate(presets, start=1)
        ]

    def finish(self, number: int, scores: FoldScores) -> None:
        """Take the scores of row ``number`` and write."""
        self._rows[number - 1] = replace(
            self._rows[number - 1],
            counts={one.case: one.counts for one in scores.cases},
            epochs=scores.epochs,
            seconds=scores.seconds,
            stopped=scores.stopped,
            device=scores.device,
        )
        self.write()

    def write(self, errors: Mapping[int, CovsegError] | None = None) -> SweepResult:
        """Write the table as far as it is; ``errors`` of rows by their number."""
        errors = errors or {}
        rows = tuple(
            replace(row, error=str(errors[row.number])) if row.number in errors else row
            for row in self._rows
        )
        train, validation, test = self._request.split
        split = f"{train} : {validation} : {test}"
        name = self._request.preset.name
        content = SweepContent(name, split, self._tested, self._patients, rows)
        folder = self._request.output
        for file, text in (
            (CSV, sweep_csv(content)),
            (MARKDOWN, sweep_markdown(content)),
            (HTML, sweep_html(content)),
        ):
            with atomic_file(folder / file) as stream:
                stream.write(text.encode())
        return SweepResult(content, folder / CSV, folder / MARKDOWN, folder / HTML, errors)


def _parameters(preset: Preset) -> int | None:
    """Of the network; None where it cannot be built, which the row will tell."""
    try:
        with torch.device("meta"):
            network = build(preset.network, **preset.network_arguments)
    except (CovsegError, NotImplementedError):
        return None
    return sum(int(one.numel()) for one in network.parameters())
