"""Texts of files and people are shown letter by letter: in pages, tables, DICOM and windows."""

import csv
import io
import re
import struct
import zlib

import pydicom
import pytest
from label_phantom import label_map, series
from pypdf import PdfReader

from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.io.dicom import read_dicom
from napari_covseg.io.dicom_maker import Maker
from napari_covseg.io.dicom_seg_write import write_dicom_seg
from napari_covseg.io.dicom_source import open_source
from napari_covseg.reports.document import (
    Bullets,
    Columns,
    Document,
    Heading,
    Notice,
    Paragraph,
    Picture,
    Table,
    Tile,
    Tiles,
)
from napari_covseg.reports.document_html import document_html
from napari_covseg.reports.document_pdf import document_pdf
from napari_covseg.reports.page import listed, page, picture, table

NASTY = (
    "<script>alert('1')</script>",
    '<img src="file:///etc/passwd" onerror="x()">',
    '"><svg onload=x>',
    "<para><font size=99>&bogus; </b>",
    "]]> --> <!-- {{7*7}} &lt;b&gt;",
)


def _png() -> bytes:
    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0\0")) + chunk(b"IEND", b"")
    )


def _document(text: str) -> Document:
    blocks = (
        Heading(text),
        Paragraph(text),
        Paragraph(text, "note"),
        Notice(text, (text,)),
        Notice(text, (text,), "person"),
        Bullets((text,)),
        Table((text, "n"), ((text, text), ("a", text)), texts=frozenset({0, 1})),
        Tiles((Tile(text, text, text),)),
        Picture(_png(), "png", text, text),
        Columns(((Paragraph(text),), (Bullets((text,)),)), (1.0, 1.0)),
    )
    return Document(text, (text,), text, blocks)


@pytest.mark.parametrize("text", NASTY)
def test_no_block_of_a_page_is_markup(text):
    html = document_html(_document(text))
    assert text not in html.split("</style>")[1]
    for tag in ("<script", "<svg", "<font", "<para", "<!--"):
        assert tag not in html
    assert not re.findall(r"<img (?!alt=\"[^\"]*\" src=\"data:)", html)
    assert not re.findall(r"<[^>]*\son\w+=", re.sub(r'alt="[^"]*"', "", html))


@pytest.mark.parametrize("text", NASTY)
def test_the_same_as_pdf(text):
    words = "".join(
        found.extract_text() for found in PdfReader(io.BytesIO(document_pdf(_document(text)))).pages
    )
    squeezed = re.sub(r"\s", "", words)
    assert squeezed.count(re.sub(r"\s", "", text)) >= 5


@pytest.mark.parametrize("text", NASTY)
def test_pieces_of_pages(text):
    html = page(text, "", [table([text], [[text]]), listed([text]), picture(b"x", text)])
    assert text not in html
    assert html.count("<img ") == html.count("data:image") == 1
    assert html.count("<script") == 0


@pytest.mark.parametrize("text", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1"])
def test_no_cell_is_a_formula(text):
    line = io.StringIO()
    csv.writer(line).writerow([csv_cell(text)])
    (cell,) = next(csv.reader(io.StringIO(line.getvalue(), newline="")))
    assert cell == f"'{text}"
    assert csv_cell(-1.5) == -1.5
    assert csv_cell("-1.5") == "-1.5"


@pytest.mark.parametrize("name", ["<script>x</script>", "=cmd|' /C calc'!A1", "@SUM(A1)^<i>x</i>"])
def test_dicom_holds_a_patients_name_as_it_is(tmp_path, name):
    """DICOM texts are no markup: what a viewer shows is up to it, but nothing may be lost."""
    ct, centre = series(tmp_path / "ct", PatientName=name, SeriesDescription=name[:16])
    volume = read_dicom(ct)
    labels = label_map(volume.geometry, centre, volume.case)
    maker = Maker("automatic", name, "2", "ab" * 32)
    write_dicom_seg(labels, open_source(ct, labels.geometry), tmp_path / "seg.dcm", maker)
    written = pydicom.dcmread(tmp_path / "seg.dcm")
    assert written.PatientName == next(pydicom.dcmread(p).PatientName for p in ct.iterdir())
    assert name not in volume.case
    assert not any(name in warning for warning in volume.warnings)


@pytest.mark.parametrize("text", NASTY)
def test_qt_shows_letters(qtbot, text):
    from qtpy.QtGui import QTextDocument
    from qtpy.QtWidgets import QLabel

    from napari_covseg.plugin.plain import plain
    from napari_covseg.plugin.review_layers import legend_html
    from napari_covseg.plugin.widgets.series_dialog import SeriesDialog
    from napari_covseg.plugin.widgets.window_dialog import WindowDialog

    def shown(said: str) -> str:
        document = QTextDocument()
        document.setHtml(said)
        return document.toPlainText().replace("\N{NO-BREAK SPACE}", " ")

    assert plain("two\nlines, 2 < 3") == "two\nlines, 2 < 3"
    assert shown(plain(f"<b>\n{text}")) == f"<b>\n{' '.join(text.split())}"
    assert text in shown(legend_html(text, "b", "c"))
    for dialog in (SeriesDialog([], text), WindowDialog(text)):
        qtbot.addWidget(dialog)
        labels = [one for one in dialog.findChildren(QLabel) if one.text()]
        assert any(text in one.text() or text in shown(one.text()) for one in labels)
