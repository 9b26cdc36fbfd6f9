"""No label, tooltip, question or notice reads HTML out of a file's or a person's words."""

import ast
import re
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QTextDocument
from qtpy.QtWidgets import QLabel

import napari_covseg.plugin
from napari_covseg.plugin.plain import Markup, Words, plain

FOLDER = Path(napari_covseg.plugin.__file__).parent
FILES = sorted(FOLDER.rglob("*.py"))
TIPS = {"setToolTip", "setStatusTip", "setWhatsThis", "setInformativeText"}
NASTY = "<img src=x><b>&lt;nasty</b>"


def is_fixed(node: ast.expr) -> bool:
    """Text that stands in the program, or names of keys and numbers put into it."""
    if isinstance(node, ast.JoinedStr):
        parts = [one.value for one in node.values if isinstance(one, ast.FormattedValue)]
        return all(isinstance(one, ast.Name) and one.id.isupper() for one in parts)
    if isinstance(node, ast.IfExp):
        return is_fixed(node.body) and is_fixed(node.orelse)
    return isinstance(node, ast.Constant) or (isinstance(node, ast.Name) and node.id.isupper())


def is_safe(node: ast.expr) -> bool:
    called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    return is_fixed(node) or (called and node.func.id == "plain")


def calls(file: Path):
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            yield name, node


def test_labels_say_which_kind_they_are():
    for file in FILES:
        text = file.read_text("utf-8")
        if file.name != "plain.py":
            assert "(QLabel)" not in text, f"{file.name}: derive from Words or Markup"
            assert "QLabel(" not in text, f"{file.name}: use Words or Markup, of plugin/plain.py"
        imported = re.findall(r"napari\.utils\.notifications import (\([^)]*\)|[^\n]*)", text)
        assert not any("show_" in one for one in imported), f"{file.name}: use plugin/telling.py"


def test_tooltips_and_questions_are_fixed_or_plain():
    for file in FILES:
        for name, node in calls(file):
            asks = ast.unparse(node.func) in ("QMessageBox.question", "QInputDialog.getText")
            # What a name holds nobody can see here: those few are looked at by people.
            told = [one for one in node.args[2:3] if asks and not isinstance(one, ast.Name)]
            told += node.args[:1] if name in TIPS else []
            assert all(map(is_safe, told)), f"{file.name}:{node.lineno}: wrap it in plain()"


def test_the_rule_finds_what_it_forbids():
    def tip(text):
        return is_safe(ast.parse(text, mode="eval").body)

    for text in ("'fixed'", "f'a {KEY}'", "plain(name)", "'a' if x else 'b'"):
        assert tip(text), text
    for text in ("name", "f'a {name}'", "str(path)", "'a' if x else name"):
        assert not tip(text), text


def test_words_stay_words_and_markup_is_drawn(qtbot):
    words, markup = Words(NASTY), Markup("<b>bold</b>")
    qtbot.addWidget(words)
    qtbot.addWidget(markup)
    assert (words.textFormat(), words.text()) == (Qt.TextFormat.PlainText, NASTY)
    assert markup.textFormat() == Qt.TextFormat.RichText
    words.setText(f"{NASTY}\n2")
    assert words.textFormat() == Qt.TextFormat.PlainText


def read_as_html(text: str) -> str:
    document = QTextDocument()
    document.setHtml(text)
    return document.toPlainText()


def test_every_dock_shows_names_of_files_letter_by_letter(make_napari_viewer, qtbot, errors):
    """A CT of a nasty name, with nasty warnings, in every widget; and a notice of an error."""
    import numpy as np

    from napari_covseg.domain.errors import InputError
    from napari_covseg.domain.geometry import Geometry
    from napari_covseg.domain.volume import CTVolume, LabelMap
    from napari_covseg.plugin.layers import ct_layer, label_layers
    from napari_covseg.plugin.widgets.errors import tell_error
    from napari_covseg.plugin.workspace import open_workspace

    viewer = make_napari_viewer()
    open_workspace(viewer)
    geometry = Geometry.from_spacing((4, 16, 16), (5.0, 2.0, 2.0))
    hu = np.full((4, 16, 16), -800, np.int16)
    scan = CTVolume(hu, geometry, NASTY, warnings=(f"odd: {NASTY}",))
    labels = np.zeros((4, 16, 16), np.uint8)
    labels[:, 4:8, 4:8], labels[1, 5, 5] = 2, 3
    for data, arguments, kind in (ct_layer(scan), *label_layers(LabelMap.like(scan, labels))):
        getattr(viewer, f"add_{kind}")(data, **arguments)
    qtbot.wait(300)
    window = viewer.window._qt_window
    ours = [one for one in window.findChildren(QLabel) if isinstance(one, Words | Markup)]
    assert len(ours) > 50
    shown = [one for one in ours if "nasty" in one.text()]
    assert any(isinstance(one, Words) for one in shown), "nothing showed it: the test is blind"
    for one in shown:
        if isinstance(one, Markup):
            assert NASTY in read_as_html(one.text())
    for one in window.findChildren(QLabel):
        if "nasty" in one.toolTip():
            assert NASTY in read_as_html(one.toolTip())
    tell_error(InputError(f"{NASTY}.nii: damaged"))
    (text,) = errors("error")
    assert read_as_html(text) == f"{NASTY}.nii: damaged"
    assert plain("2 < 3") == "2 < 3"
