"""What a reader wrote about each CT of a viewer, and what they signed. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from napari_covseg.reports.findings_content import Reading

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_covseg.reports.findings_content import ReaderScore


@dataclass
class _Kept:
    reading: Reading = field(default_factory=Reading)
    signed_labels: str = ""


class Readings:
    """Readings by CT: one patient's text never gets into another's report."""

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[Image, _Kept] = WeakKeyDictionary()

    def of(self, ct: Image | None) -> Reading:
        """What was written about a CT; nothing without one."""
        kept = None if ct is None else self._kept.get(ct)
        return Reading() if kept is None else kept.reading

    def write(self, ct: Image, findings: str, impression: str, co_rads: int | None) -> None:
        """Keep a text."""
        kept = self._kept.setdefault(ct, _Kept())
        kept.reading = replace(
            kept.reading, findings=findings, impression=impression, co_rads=co_rads
        )

    def sign(
        self, ct: Image, name: str, labels_sha256: str, scores: tuple[ReaderScore, ...] = ()
    ) -> None:
        """``name`` signs the text, these labels and the reader's scores, now."""
        kept = self._kept.setdefault(ct, _Kept())
        at = datetime.now(UTC).isoformat(timespec="seconds")
        kept.reading = replace(kept.reading, scores=scores, reader=name, signed=at)
        kept.signed_labels = labels_sha256

    def signed_labels(self, ct: Image) -> str:
        """The hash of the labels that were signed; empty while nobody has."""
        kept = self._kept.get(ct)
        return "" if kept is None else kept.signed_labels

    def withdraw(self, ct: Image) -> bool:
        """Take a sign-off away; false if there was none."""
        kept = self._kept.get(ct)
        if kept is None or not kept.reading.signed:
            return False
        kept.reading = replace(kept.reading, reader="", signed="")
        kept.signed_labels = ""
        return True
