"""A document as data: blocks of plain text, tables and pictures, drawn as HTML or as PDF.

Texts are plain texts, never markup: what came from a file or a person is shown as it is written.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

RESEARCH_USE = "Research use only: not a medical device, not for diagnosis or treatment."


@dataclass(frozen=True, slots=True)
class Heading:
    """The heading of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A text; its line breaks are kept. A note is small and grey."""

    text: str
    kind: Literal["plain", "note", "strong"] = "plain"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something not to be overlooked: a title, and a line or more."""

    title: str
    lines: tuple[str, ...]
    kind: Literal["warning", "person"] = "warning"


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first column and those in ``texts`` stand on the left, the others on the right.

    ``main`` are the numbers of rows that are set in bold. ``wide`` columns share what width is left
    and may wrap; without them every column is as wide as its longest cell.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    texts: frozenset[int] = frozenset()
    main: frozenset[int] = frozenset()
    wide: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Tile:
    """A figure to be seen at once: what it is, its value, and what more there is to say of it."""

    title: str
    value: str
    more: str = ""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Key figures side by side."""

    tiles: tuple[Tile, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture with what it shows in words.

    ``fits`` lets it shrink, to half its size at most, so that it ends on the page it begins on.
    """

    data: bytes
    kind: Literal["png", "jpeg"]
    title: str
    note: str = ""
    fits: bool = False


@dataclass(frozen=True, slots=True)
class Columns:
    """Blocks side by side; ``shares`` of the width add up to 1."""

    columns: tuple[tuple[Block, ...], ...]
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class NewPage:
    """What follows begins a page."""


Block = Heading | Paragraph | Notice | Bullets | Table | Tiles | Picture | Columns | NewPage


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its title, what stands beside the title, and its blocks.

    ``foot`` stands at the foot of every page, beside `RESEARCH_USE`.
    """

    title: str
    beside: tuple[str, ...]
    foot: str
    blocks: tuple[Block, ...] = field(default=())
