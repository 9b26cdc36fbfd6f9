"""A document as one HTML page: pictures inside it, nothing fetched, nothing to run."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

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
from napari_covseg.reports.page import listed, page, picture, table

_STYLE = """
@page{size:A4;margin:12mm 13mm 16mm;
 @bottom-left{content:"RESEARCH_USE";font:8px sans-serif;color:#666}
 @bottom-right{content:counter(page) " / " counter(pages);font:8px sans-serif;color:#666}}
*{box-sizing:border-box}
body{font:14px/1.42 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;color:#1c1c1c;
 background:#eceef1;margin:0}
section{background:#fff;max-width:940px;margin:16px auto;padding:26px 34px;
 box-shadow:0 1px 4px #0003}
header{display:flex;justify-content:space-between;gap:24px;align-items:flex-end;
 border-bottom:2px solid #2566c8;padding-bottom:8px;margin-bottom:10px}
h1{font-size:23px;margin:0;line-height:1.2}
header div{text-align:right;font-size:12.5px;overflow-wrap:anywhere}
h2{font-size:16px;margin:22px 0 6px;break-after:avoid}
p{margin:6px 0;white-space:pre-line;overflow-wrap:anywhere}
p.strong{font-weight:600;color:#8c0018;font-size:12.5px;margin:0 0 8px}
.note{color:#555;font-size:12px}
ul{margin:6px 0;padding-left:20px}
li{margin:2px 0;white-space:pre-line;overflow-wrap:anywhere}
.notice{border-left:4px solid #c98a00;background:#fff6e0;padding:6px 12px;margin:8px 0}
.notice.person{border-color:#2566c8;background:#edf3fc}
.notice b{display:block}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:8px;margin:12px 0}
.tiles div{border:1px solid #d3d8df;border-radius:4px;padding:6px 10px}
.tiles span{display:block;font-size:12px;color:#555}
.tiles b{display:block;font-size:20px;font-variant-numeric:tabular-nums;line-height:1.25}
.columns{display:flex;flex-wrap:wrap;gap:6px 28px;align-items:flex-start}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:12.5px;margin:4px 0}
th,td{padding:2px 7px;text-align:right;vertical-align:top;white-space:nowrap}
th:first-child,td:first-child,.text{text-align:left}
th:first-child,td:first-child{padding-left:0}
.wrap{white-space:normal;overflow-wrap:anywhere}
thead th{border-bottom:1.5px solid #333;vertical-align:bottom;font-weight:600}
tbody tr+tr td{border-top:1px solid #e6e8eb}
tr.main td{font-weight:600}
img{max-width:100%;height:auto;display:block;margin:8px 0 4px}
footer{color:#666;font-size:11.5px;border-top:1px solid #d3d8df;margin-top:18px;padding-top:6px;
 display:flex;justify-content:space-between;gap:20px;overflow-wrap:anywhere}
@media print{body{background:#fff;font-size:11px}
 section{box-shadow:none;margin:0;padding:0;max-width:none;break-after:page}
 section:last-of-type{break-after:auto}
 img,table,.notice,.tiles,.columns{break-inside:avoid}
 img{max-height:225mm;margin:4px auto}section:first-of-type img{max-height:118mm}
 table{font-size:10px}th,td{padding:1.5px 5px}.columns{flex-wrap:nowrap}
 .tiles{grid-template-columns:repeat(5,1fr)}.note{font-size:10px}footer{margin-top:4px;font-size:8.5px}}
""".replace("RESEARCH_USE", RESEARCH_USE)


def document_html(document: Document) -> str:
    """The document as a page of HTML."""
    return page(f"{document.title}, {document.foot}", _STYLE, _sections(document))


def _sections(document: Document) -> Iterator[str]:
    foot = (
        f"<footer><span>{escape(RESEARCH_USE)}</span><span>{escape(document.foot)}</span></footer>"
    )
    beside = "<br>".join(escape(line) for line in document.beside if line)
    yield f"<section><header><h1>{escape(document.title)}</h1><div>{beside}</div></header>"
    for block in document.blocks:
        yield f"{foot}</section>\n<section>" if isinstance(block, NewPage) else _block(block)
    yield f"{foot}</section>"


def _block(block: Block) -> str:
    match block:
        case Heading(text):
            return f"<h2>{escape(text)}</h2>"
        case Paragraph(text, kind):
            return f'<p class="{kind}">{escape(text)}</p>'
        case Notice(title, lines, kind):
            body = "".join(f"<p>{escape(line)}</p>" for line in lines)
            return f'<div class="notice {kind}"><b>{escape(title)}</b>{body}</div>'
        case Bullets(lines):
            return listed(lines)
        case Table():
            return _table(block)
        case Tiles(tiles):
            parts = (
                f"<div><span>{escape(one.title)}</span><b>{escape(one.value)}</b>"
                f"<span>{escape(one.more)}</span></div>"
                for one in tiles
            )
            return f'<div class="tiles">{"".join(parts)}</div>'
        case Picture():
            note = f'<p class="note">{escape(block.note)}</p>' if block.note else ""
            return picture(block.data, block.title, block.kind) + note
        case Columns(columns, _):
            inner = ("".join(_block(one) for one in column) for column in columns)
            return f'<div class="columns">{"".join(f"<div>{one}</div>" for one in inner)}</div>'
        case NewPage():
            raise ValueError("a page cannot begin inside a column")


def _table(block: Table) -> str:
    kinds = [
        " ".join(
            name
            for name, has in (("text", place in block.texts), ("wrap", place in block.wide))
            if has
        )
        for place in range(len(block.head))
    ]
    marks = ["main" if row in block.main else "" for row in range(len(block.rows))]
    return table(block.head, block.rows, marks, kinds)
