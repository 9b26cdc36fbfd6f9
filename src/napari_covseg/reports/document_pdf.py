"""A document as PDF: A4 pages with numbers, text that can be selected, fonts inside the file.

reportlab and matplotlib (whose DejaVu fonts are used: Latin, Greek, Cyrillic) are imported with
this module, so import it only where a PDF is made.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import matplotlib
from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_LEFT, TA_RIGHT
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import BaseDocTemplate, Flowable, Frame, PageBreak, PageTemplate, Spacer
from reportlab.platypus import Paragraph as Text
from reportlab.platypus import Table as Grid

from napari_covseg.reports.document import (
    RESEARCH_USE,
    Block,
    Bullets,
    Columns,
    Document,
    Heading,
    NewPage,
    Notice,
    Paragraph,
    Picture,
    Table,
    Tiles,
)

_FONT, _BOLD = "CovsegSans", "CovsegSans-Bold"
_MARGIN, _FOOT = 14 * mm, 15 * mm
_WIDTH = A4[0] - 2 * _MARGIN
_INK, _GREY, _LINE = HexColor("#1c1c1c"), HexColor("#5a5a5a"), HexColor("#d3d8df")
_BLUE, _RED = HexColor("#2566c8"), HexColor("#8c0018")
_NOTICES = {
    "warning": (HexColor("#c98a00"), HexColor("#fff6e0")),
    "person": (_BLUE, HexColor("#edf3fc")),
}
_SMALLEST = 0.5
_CELL_PAD = 3.2


def document_pdf(document: Document) -> bytes:
    """The document as the bytes of a PDF."""
    _fonts()
    buffer = io.BytesIO()
    template = BaseDocTemplate(
        buffer,
        pagesize=A4,
        title=f"{document.title}, {document.foot}",
        author="",
        creator="napari-covseg",
        lang="en",
    )
    frame = Frame(_MARGIN, _FOOT, _WIDTH, A4[1] - _FOOT - 11 * mm, 0, 0, 0, 0, showBoundary=0)
    template.addPageTemplates(PageTemplate("page", [frame]))
    story = [_head(document), Spacer(1, 2 * mm)]
    for block in document.blocks:
        story += _flowables(block, _WIDTH)
    template.build(story, canvasmaker=partial(_Numbered, document.foot))
    return buffer.getvalue()


class _Numbered(Canvas):  # type: ignore[misc]
    """Draws the foot of every page once it is known how many there are."""

    def __init__(self, foot: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._foot, self._pages = foot, []  # type: ignore[var-annotated]

    def showPage(self) -> None:
        """Keep the page back."""
        self._pages.append(dict(self.__dict__))
        self._startPage()

    def save(self) -> None:
        """Finish every page, then the file."""
        for number, state in enumerate(self._pages, start=1):
            self.__dict__.update(state)
            self._draw_foot(f"{number} / {len(self._pages)}")
            super().showPage()
        super().save()

    def _draw_foot(self, number: str) -> None:
        self.setStrokeColor(_LINE)
        self.line(_MARGIN, 12 * mm, A4[0] - _MARGIN, 12 * mm)
        self.setFillColor(_GREY)
        self.setFont(_FONT, 6.6)
        self.drawString(_MARGIN, 9 * mm, RESEARCH_USE)
        self.drawRightString(A4[0] - _MARGIN, 9 * mm, f"Page {number}")
        self.drawString(_MARGIN, 6 * mm, _cut(self._foot, 110))


class _Shrinking(Flowable):  # type: ignore[misc]
    """A picture that becomes smaller where the page has no room for its full size."""

    def __init__(self, block: Picture, width: float) -> None:
        super().__init__()
        self._image = ImageReader(io.BytesIO(block.data))
        across, down = self._image.getSize()
        self._full = (width, width * down / across)
        self._least = _SMALLEST if block.fits else 1.0
        self._room = width

    def wrap(self, _width: float, height: float) -> tuple[float, float]:
        """The size it takes of the room there is."""
        most = min(1.0, (A4[1] - _FOOT - 30 * mm) / self._full[1])
        scale = min(most, max(self._least, (height - 1) / self._full[1]))
        self.width, self.height = (side * scale for side in self._full)
        return self.width, self.height

    def draw(self) -> None:
        """Draw it in the middle of the column."""
        left = (self._room - self.width) / 2
        self.canv.drawImage(self._image, left, 0, self.width, self.height)


@cache
def _fonts() -> None:
    """DejaVu, which matplotlib brings: free to embed, and the same on every machine."""
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    pdfmetrics.registerFont(TTFont(_FONT, str(folder / "DejaVuSans.ttf")))
    pdfmetrics.registerFont(TTFont(_BOLD, str(folder / "DejaVuSans-Bold.ttf")))
    pdfmetrics.registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


def _style(size: float, **changes: Any) -> ParagraphStyle:
    look = {"fontName": _FONT, "textColor": _INK, "leading": 1.28 * size, "splitLongWords": 1}
    return ParagraphStyle("text", fontSize=size, **{**look, **changes})


_BODY, _NOTE = _style(8.4, spaceAfter=3), _style(6.8, textColor=_GREY, spaceAfter=3)
_STRONG = _style(7.6, fontName=_BOLD, textColor=_RED, spaceAfter=3)
_HEADING = _style(10.5, fontName=_BOLD, spaceBefore=9, spaceAfter=4, keepWithNext=1)
_KINDS = {"plain": _BODY, "note": _NOTE, "strong": _STRONG}


def _head(document: Document) -> Flowable:
    beside = "\n".join(line for line in document.beside if line)
    cells = [
        [
            _text(document.title, _style(15, fontName=_BOLD)),
            _text(beside, _style(7.2, alignment=TA_RIGHT)),
        ]
    ]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "BOTTOM"),
        ("LINEBELOW", (0, 0), (-1, 0), 1.4, _BLUE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-1, -1), 0),
    ]
    return Grid(cells, [0.42 * _WIDTH, 0.58 * _WIDTH], style=look)


def _text(text: str, style: ParagraphStyle) -> Text:
    return Text(escape(text).replace("\n", "<br/>"), style)


def _flowables(block: Block, width: float) -> list[Flowable]:
    match block:
        case Heading(text):
            return [_text(text, _HEADING)]
        case Paragraph(text, kind):
            return [_text(text, _KINDS[kind])]
        case Notice():
            return [_notice(block, width), Spacer(1, 1.6 * mm)]
        case Bullets(lines):
            item = _style(8.2, leftIndent=9, bulletIndent=1, spaceAfter=1.5)
            return [
                Text(escape(line).replace("\n", "<br/>"), item, bulletText="•") for line in lines
            ]
        case Table():
            return [_table(block, width), Spacer(1, 1.6 * mm)]
        case Tiles():
            return [_tiles(block, width), Spacer(1, 2 * mm)]
        case Picture():
            return list(_picture(block, width))
        case Columns(columns, shares):
            return [_columns(columns, shares, width)]
        case NewPage():
            return [PageBreak()]


def _picture(block: Picture, width: float) -> Iterator[Flowable]:
    if block.note:
        yield _text(block.note, _NOTE)
    yield _Shrinking(block, width)


def _notice(block: Notice, width: float) -> Flowable:
    edge, ground = _NOTICES[block.kind]
    rows = [[_text(block.title, _style(8.2, fontName=_BOLD))]]
    rows += [[_text(line, _style(7.9))] for line in block.lines]
    look = [
        ("BACKGROUND", (0, 0), (-1, -1), ground),
        ("LINEBEFORE", (0, 0), (0, -1), 3, edge),
        ("TOPPADDING", (0, 0), (-1, -1), 1.6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.6),
        ("LEFTPADDING", (0, 0), (-1, -1), 8),
    ]
    return Grid(rows, [width], style=look, splitInRow=1)


def _tiles(block: Tiles, width: float) -> Flowable:
    cells = [
        [
            [
                _text(one.title, _style(6.9, textColor=_GREY)),
                _text(one.value, _style(12.5, fontName=_BOLD)),
                _text(one.more, _style(6.9, textColor=_GREY)),
            ]
            for one in block.tiles
        ]
    ]
    if not block.tiles:
        return Spacer(1, 0)
    look = [
        ("BOX", (0, 0), (-1, -1), 0.6, _LINE),
        ("INNERGRID", (0, 0), (-1, -1), 0.6, _LINE),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 4),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    return Grid(cells, [width / len(block.tiles)] * len(block.tiles), style=look)


def _columns(
    columns: tuple[tuple[Block, ...], ...], shares: tuple[float, ...], width: float
) -> Flowable:
    widths = [share * width for share in shares]
    gap = 5 * mm
    cells = [
        [flowable for block in column for flowable in _flowables(block, wide - gap)]
        for column, wide in zip(columns, widths, strict=True)
    ]
    look = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("RIGHTPADDING", (0, 0), (-2, -1), gap),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 0),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 0),
    ]
    return Grid([cells], widths, style=look)


def _table(block: Table, width: float) -> Flowable:
    if not block.rows:
        return Spacer(1, 0)
    size = 7.4
    widths = _widths(block, width, size)
    while sum(widths) > width and size > 5.2:
        size -= 0.2
        widths = _widths(block, width, size)
    if sum(widths) > width:
        widths = [one * width / sum(widths) for one in widths]
    rows = [
        [_text(cell, _cell_style(block, row, column, size)) for column, cell in enumerate(cells)]
        for row, cells in enumerate([block.head, *block.rows], start=-1)
    ]
    look: list[Any] = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.9, _INK),
        ("LINEBELOW", (0, 1), (-1, -2), 0.4, _LINE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("TOPPADDING", (0, 0), (-1, -1), 1.2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 1.8),
        ("LEFTPADDING", (0, 0), (-1, -1), _CELL_PAD),
        ("RIGHTPADDING", (0, 0), (-1, -1), _CELL_PAD),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
    ]
    if not any(block.head):
        rows, look = rows[1:], [("LINEBELOW", (0, 0), (-1, -2), 0.4, _LINE), *look[2:]]
        return Grid(rows, widths, style=look, hAlign="LEFT", splitInRow=1)
    return Grid(rows, widths, style=look, hAlign="LEFT", repeatRows=1, splitInRow=1)


def _cell_style(block: Table, row: int, column: int, size: float) -> ParagraphStyle:
    bold = row < 0 or row in block.main
    left = column == 0 or column in block.texts
    return _style(size, fontName=_BOLD if bold else _FONT, alignment=TA_LEFT if left else TA_RIGHT)


def _widths(block: Table, width: float, size: float) -> list[float]:
    """Each column as wide as its longest cell; wide ones share what is left."""
    longest = []
    for column, head in enumerate(block.head):
        cells = [(head, _BOLD)]
        cells += [
            (row[column], _BOLD if number in block.main else _FONT)
            for number, row in enumerate(block.rows)
        ]
        longest.append(
            max(pdfmetrics.stringWidth(text, font, size) for text, font in cells)
            + 2 * _CELL_PAD
            + 0.5
        )
    if not block.wide:
        return longest
    rest = width - sum(longest[i] for i in range(len(longest)) if i not in block.wide)
    return [
        min(one, max(rest / len(block.wide), 12 * size)) if place in block.wide else one
        for place, one in enumerate(longest)
    ]


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"
