"""The parts of HTML that every report is made of: one file, nothing fetched, nothing to run."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape


def page(title: str, style: str, parts: Iterable[str]) -> str:
    """A whole page of ``parts``, which are HTML; ``title`` is plain text."""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    classes: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> str:
    """A table of plain texts; ``classes`` are of rows, ``columns`` of the cells of each column."""
    marks = classes or [""] * len(rows)
    kinds = columns or [""] * len(head)
    top = "".join(_cell("th", cell, kind) for cell, kind in zip(head, kinds, strict=True))
    body = [
        (f'<tr class="{mark}">' if mark else "<tr>")
        + "".join(_cell("td", cell, kind) for cell, kind in zip(row, kinds, strict=True))
        + "</tr>"
        for row, mark in zip(rows, marks, strict=True)
    ]
    return (
        f'<div class="wide"><table><thead><tr>{top}</tr></thead><tbody>'
        + "\n".join(body)
        + "</tbody></table></div>"
    )


def listed(lines: Iterable[str]) -> str:
    """A list of plain texts."""
    return "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in lines) + "</ul>"


def picture(data: bytes, title: str, kind: str = "png") -> str:
    """A picture inside the page; ``kind`` is ``png`` or ``jpeg``."""
    encoded = base64.b64encode(data).decode()
    return f'<img alt="{escape(title)}" src="data:image/{kind};base64,{encoded}">'


def _cell(tag: str, text: str, kind: str) -> str:
    mark = f' class="{kind}"' if kind else ""
    return f"<{tag}{mark}>{escape(text)}</{tag}>"
