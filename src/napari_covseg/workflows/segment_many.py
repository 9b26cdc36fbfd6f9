"""Segment one of many CTs: read, unless it is done already, segment, write, remember."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from napari_covseg import __version__
from napari_covseg.domain.errors import InputError, ModelError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.workflows import segment_done as done
from napari_covseg.workflows.doubt import FILES_KEY
from napari_covseg.workflows.segment import (
    SegmentFileResult,
    input_hash,
    make_folder,
    memory,
    segment,
    write_result,
)
from napari_covseg.workflows.segment_names import Naming, Wish
from napari_covseg.workflows.segment_settings import SegmentSettings

if TYPE_CHECKING:
    from napari_covseg.domain.volume import CTVolume
    from napari_covseg.models.checkpoint import Model

READ_AHEAD = {"cpu": 1, "mps": 1, "cuda": 2}
"""CTs that are read or written while others are in the network."""
_POLL_S = 0.05
J = TypeVar("J")
R = TypeVar("R")


@dataclass(frozen=True)
class CaseRequest:
    """One CT to segment; plain values, so that it can be sent to another machine.

    ``model`` is the key (`model_key`) that the model of ``settings`` must have. ``case`` is the
    CT's own name; None if reading it tells. With ``again`` it is done even if it is done.
    ``version`` is that of the program that asks, ``number`` the place among those it asks for. The
    rest is as of `segment_file`.
    """

    path: Path
    output: Path
    settings: SegmentSettings
    model: str
    case: str | None = None
    series: str | None = None
    window: tuple[float, float] | None = None
    uncertainty: bool = False
    likelihood: bool = False
    again: bool = False
    version: str = __version__
    number: int = 0

    @property
    def key(self) -> str:
        """Which input this is (`input_key`)."""
        return done.input_key(self.path, self.output, self.series)

    @property
    def made_with(self) -> str:
        """What the result depends on besides the CT. The device is left out: any gives the same
        but for rounding, and a run may go on elsewhere.
        """
        return done.made_with(
            software=self.version,
            model=self.model,
            flips=self.settings.flips,
            window=self.window and list(self.window),
            uncertainty=self.uncertainty,
            likelihood=self.likelihood,
        )


@dataclass(frozen=True)
class CaseDone:
    """The files of a case and what the JSON says; ``before``: an earlier run had made them."""

    case: str
    labels_path: Path
    json_path: Path
    report: dict[str, Any]
    before: bool = False


def segment_case(
    request: CaseRequest, naming: Naming, turn: AbstractContextManager[Any] | None = None
) -> Steps[CaseDone]:
    """Segment a CT unless that is done; ``turn`` is held while the network works.

    What comes before it among the inputs is waited for only where the name is needed: not to read,
    and not in the network.

    A result that is half written, damaged or made of another CT, by another model or with other
    settings is made anew. The record comes last, so that it never stands beside half a result.

    Raises
    ------
    InputError, ModelError, ResourceError, UsageError
        As `segment_file`; `ModelError` also if the model is not the one expected.
    """
    make_folder(request.output)
    key, signature = request.key, done.signature(request.path)
    earlier = done.read_record(request.output, key)
    if request.case is not None:
        naming.wish(_wish(request.case, earlier))
    record = earlier if earlier and _usable(request, earlier) else None
    if record and signature and record.signature == signature:
        naming.wish(_wish(record.own, record))
        if (yield from _name(naming)) == record.case:
            return _done_before(request, record)
    yield Progress(0, 1, f"reading {request.path.name}")
    volume = _read(request)
    own = request.case or volume.case
    naming.wish(_wish(own, earlier))
    same = record is not None and record.voxels == input_hash(volume)
    if record and same and (yield from _name(naming)) == record.case:
        record = replace(record, own=own, signature=signature)
        done.write_record(request.output, key, record)
        return _done_before(request, record)
    model = _model_of(request)
    yield Progress(0, 1, "waiting for its turn")
    with turn or nullcontext():
        try:
            result = yield from segment(
                volume,
                request.settings,
                request.uncertainty,
                request.likelihood,
                model,
            )
        except (InputError, ResourceError) as error:
            raise type(error)(f"{request.path.name}: {error}") from error
    del volume
    case = yield from _name(naming)
    yield Progress(0, 1, f"writing {case}_labels.nii.gz")
    done.forget(request.output, key)
    written = write_result(result, request.output, case)
    record = _record_of(request, written, case, own, signature)
    done.write_record(request.output, key, record)
    return CaseDone(case, written.labels_path, written.json_path, written.report)


def early_wish(request: CaseRequest) -> Wish | None:
    """What an input would be called, if that is known before it is read."""
    if request.case is None:
        return None
    return _wish(request.case, done.read_record(request.output, request.key))


def _wish(own: str, earlier: done.Record | None) -> Wish:
    return Wish(own, earlier.case if earlier and earlier.own == own else None)


def _name(naming: Naming) -> Steps[str]:
    """Wait until the inputs before this one are known, too."""
    while (name := naming.name()) is None:
        yield Progress(0, 1, "waiting for the names of those before it")
        time.sleep(_POLL_S)
    return name


def _usable(request: CaseRequest, record: done.Record) -> bool:
    """Whether a result is there, and all but the CT is known to be as it was."""
    same = record.made_with == request.made_with and not request.again
    return same and record.holds(request.output)


def _done_before(request: CaseRequest, record: done.Record) -> CaseDone:
    path = request.output / f"{record.case}.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    return CaseDone(record.case, request.output / report["labels_file"], path, report, before=True)


def _read(request: CaseRequest) -> CTVolume:
    from napari_covseg.io import read_volume

    with memory():
        return read_volume(request.path, series=request.series, window=request.window)


def _model_of(request: CaseRequest) -> Model:
    model = _loaded(request.settings.model)
    if done.model_key(model) != request.model:
        raise ModelError(
            f"the model {Path(request.settings.model).name} is not the one that this run began "
            "with: start it again"
        )
    return model


def loaded_model_key(name_or_folder: str) -> str:
    """The key of a model whose weights are those of its card; read again when its files change.

    Raises
    ------
    ModelError
        If the model cannot be read.
    """
    return done.model_key(_loaded(name_or_folder))


def _loaded(name_or_folder: str) -> Model:
    from napari_covseg.models.zoo import find_card

    card = find_card(name_or_folder)
    files = [card, card.with_suffix(".safetensors")]
    return _read_model(card, tuple(f.stat().st_mtime_ns if f.is_file() else 0 for f in files))


@lru_cache(maxsize=1)
def _read_model(card: Path, _: tuple[int, ...]) -> Model:
    """Read once for all inputs: a network that runs is a copy of the model's."""
    from napari_covseg.models.checkpoint import read_checkpoint

    return read_checkpoint(card)


def _record_of(
    request: CaseRequest, written: SegmentFileResult, case: str, own: str, signature: str | None
) -> done.Record:
    report = written.report
    names = [written.labels_path.name, written.json_path.name]
    names += [report[key] for key in ("uncertainty_file",) if key in report]
    names += report.get(FILES_KEY, {}).values()
    files = {name: done.file_hash(request.output / name) for name in names}
    voxels = report["provenance"]["input"]["sha256"]
    return done.Record(case, own, request.made_with, signature, voxels, files)


def in_threads(
    jobs: Iterator[J], work: Callable[[J], R], hands: int, stop: threading.Event
) -> list[R]:
    """``work`` on every job, by so many threads; results in the order of the jobs.

    A job is taken from the iterator when a thread is free for it, so only as many as there are
    threads are ever under way. Ctrl-C, or an error that ``work`` lets through, sets ``stop`` and is
    raised when the threads have ended.
    """
    numbered, lock = enumerate(jobs), threading.Lock()
    results: dict[int, R] = {}

    def hand() -> None:
        while not stop.is_set():
            with lock:
                found = next(numbered, None)
            if found is None:
                return
            results[found[0]] = work(found[1])

    with ThreadPoolExecutor(hands) as pool:
        try:
            for one in as_completed([pool.submit(hand) for _ in range(hands)]):
                one.result()
        except BaseException:
            stop.set()
            raise
    return [results[number] for number in sorted(results)]


@contextmanager
def shared_cores(jobs: int, device_kind: str) -> Iterator[None]:
    """On the CPU give each of ``jobs`` networks its share of the cores."""
    import torch

    before = torch.get_num_threads()
    if jobs == 1 or device_kind != "cpu":
        yield
        return
    torch.set_num_threads(max(1, before // jobs))
    try:
        yield
    finally:
        torch.set_num_threads(before)
