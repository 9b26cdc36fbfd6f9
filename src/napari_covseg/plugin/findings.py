"""What was found in a study, kept by the CT it belongs to, and offered when it is opened again.

One small JSON a CT in the user's data folder, named by a fingerprint of its voxels: where its
labels were saved, its distances, the reader's scores and what they wrote for the report. It says
nothing about the patient but the path that the user chose for the labels, and what the reader wrote
there. No Qt.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.errors import InputError, ResourceError
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.editing.draft import fingerprint
from napari_covseg.plugin.doubting import LABELS_FILE
from napari_covseg.plugin.layers import LayerTuple, Placement, label_layers, placement_of
from napari_covseg.plugin.reader_scores import KINDS, ReaderScores, part_names
from napari_covseg.plugin.rulers import Ruler

if TYPE_CHECKING:
    from napari.layers import Image

_VERSION = 1
MOST_CO_RADS = 6


@dataclass(frozen=True)
class Written:
    """What a reader wrote for a report; a sign-off is not kept, it is of what was seen then."""

    findings: str = ""
    impression: str = ""
    co_rads: int | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing was written."""
        return self == Written()

    def after(self, older: Written) -> Written:
        """What was written before, and this below it."""
        return Written(
            "\n".join(filter(None, (older.findings, self.findings))),
            "\n".join(filter(None, (older.impression, self.impression))),
            older.co_rads if self.co_rads is None else self.co_rads,
        )


@dataclass(frozen=True)
class Findings:
    """What was found in one CT.

    ``labels`` is the label map that was saved last, None if none was; ``reader`` holds the
    reader's scores by kind, ``report`` what they wrote. ``kept`` is when this was written.
    """

    labels: Path | None = None
    rulers: tuple[Ruler, ...] = ()
    reader: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    report: Written = field(default_factory=Written)
    kept: datetime | None = None

    @property
    def empty(self) -> bool:
        """Whether there is nothing to offer."""
        marked = self.rulers or any(self.reader.values())
        return self.labels is None and not marked and self.report.empty

    @property
    def text(self) -> str:
        """``labels (x_labels.nii.gz), 2 distances, your scores``."""
        parts = [] if self.labels is None else [f"labels ({self.labels.name})"]
        if self.rulers:
            many = len(self.rulers)
            parts.append(f"{many} distance{'' if many == 1 else 's'}")
        if any(self.reader.values()):
            parts.append("your scores")
        if not self.report.empty:
            parts.append("your text for the report")
        return ", ".join(parts)


def findings_folder() -> Path:
    """Where findings lie: the user's data folder, since a CT's own may be read-only."""
    from platformdirs import user_data_path

    return user_data_path("napari-covseg", appauthor=False) / "findings"


def findings_path(ct: Image) -> Path:
    """The findings of a CT, there or not."""
    placement = placement_of(ct)
    assert placement is not None
    return findings_folder() / f"{fingerprint(ct.data, placement.geometry)}.json"


def write_findings(path: Path, findings: Findings) -> None:
    """Write findings, or delete the file of findings that are empty.

    Raises
    ------
    InputError, ResourceError
        If they cannot be written.
    """
    from napari_covseg.io.atomic import write_json

    try:
        if findings.empty:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"{path.parent.name}: the folder of findings cannot be written to ({error.strerror}); "
            "what was found in this CT is not kept"
        ) from None
    content = {
        "version": _VERSION,
        "labels": None if findings.labels is None else str(findings.labels),
        "rulers": [[list(ruler.start), list(ruler.end)] for ruler in findings.rulers],
        "reader": {kind: dict(points) for kind, points in findings.reader.items() if points},
        "report": asdict(findings.report),
        "kept": datetime.now().isoformat(timespec="seconds"),
    }
    write_json(path, content)


def read_findings(path: Path) -> Findings | None:
    """Read findings; None where there are none, or the file is damaged or of a later version."""
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        if held["version"] != _VERSION:
            return None
        return Findings(
            labels=Path(held["labels"]) if held["labels"] else None,
            rulers=tuple(Ruler(_point(a), _point(b)) for a, b in held["rulers"]),
            reader={
                kind: _points(kind, points)
                for kind, points in held["reader"].items()
                if kind in KINDS
            },
            report=_written(held.get("report", {})),
            kept=datetime.fromisoformat(held["kept"]),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def labels_steps(labels: Path, placement: Placement) -> Steps[list[LayerTuple]]:
    """Read the label map that was saved; runs in a worker's thread.

    Raises
    ------
    InputError
        If the file is gone, cannot be read, or is on another grid than the CT.
    """
    from napari_covseg.io import read_labels

    yield Progress(0, 1, f"reading {labels.name}")
    if not labels.exists():
        raise InputError(
            f"{labels.name}: the labels of this CT were saved there, and are gone; open them from "
            "where they are now"
        )
    found = read_labels(labels)
    if not found.geometry.same_as(placement.geometry):
        raise InputError(f"{labels.name}: these labels are on another grid than the CT by now")
    layers = label_layers(found)
    for _, arguments, _ in layers:
        arguments["metadata"] = {**arguments["metadata"], LABELS_FILE: str(labels)}
    return layers


def reader_scores(findings: Findings) -> list[ReaderScores]:
    """The reader's scores, one for each kind."""
    return [ReaderScores(kind, points) for kind, points in findings.reader.items()]


def _point(values: Any) -> tuple[float, float, float]:
    z, y, x = (float(value) for value in values)
    return z, y, x


def _written(held: Mapping[str, Any]) -> Written:
    co_rads = held.get("co_rads")
    return Written(
        str(held.get("findings", "")),
        str(held.get("impression", "")),
        co_rads if isinstance(co_rads, int) and 0 <= co_rads <= MOST_CO_RADS else None,
    )


def _points(kind: str, points: Mapping[str, Any]) -> dict[str, int]:
    most = KINDS[kind][1]
    known = part_names(kind)
    return {
        name: int(value)
        for name, value in points.items()
        if name in known and 0 <= int(value) <= most
    }
