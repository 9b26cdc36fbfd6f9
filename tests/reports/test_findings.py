"""The report of a case: what it says, in every form, also of input that is wrong."""

import io
import json
import re
import textwrap
from dataclasses import replace

import numpy as np
import pytest
from block_lungs import LEFT, RIGHT, as_map, as_volume, blocks
from matplotlib.image import imread
from pypdf import PdfReader
from report_cases import content_of, sick_blocks

from napari_covseg.domain.errors import UsageError
from napari_covseg.domain.identity import Identity
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import run_to_end
from napari_covseg.quantify.case import quantify
from napari_covseg.quantify.doubt import Doubt
from napari_covseg.reports.document import RESEARCH_USE, NewPage, Notice, Picture
from napari_covseg.reports.document_html import document_html
from napari_covseg.reports.document_pdf import document_pdf
from napari_covseg.reports.findings_content import ReaderScore, Reading
from napari_covseg.reports.findings_document import findings_document
from napari_covseg.reports.findings_figures import findings_figures
from napari_covseg.reports.findings_notes import notes
from napari_covseg.reports.findings_text import findings_text
from napari_covseg.workflows.origin import Origin

NASTY = '<script>alert("1")</script> & <b>fett</b> <para> Übergrößenträger'
ORIGIN = Origin(
    True,
    False,
    {"name": "covseg-default", "version": "2", "sha256": "ab" * 32},
    {"software_version": "0.1.0", "settings": {"flips": "none"}, "device": {"title": "CPU"}},
    ("The lungs are small.",),
)


def document_of(content, pictures=None):
    return findings_document(content, pictures or {})


def html_of(content):
    return document_html(document_of(content))


def pdf_of(content, pictures=None):
    return PdfReader(io.BytesIO(document_pdf(document_of(content, pictures))))


def words(pdf, page=None):
    pages = pdf.pages if page is None else [pdf.pages[page]]
    return " ".join(" ".join(one.extract_text() for one in pages).split())


def row_of(html, first):
    """The cells of the first row that begins with ``first``."""
    found = re.search(rf"<tr[^>]*><td[^>]*>{re.escape(first)}</td>(.*?)</tr>", html)
    assert found is not None, first
    return re.findall(r"<td[^>]*>(.*?)</td>", found[1])


def test_figures_are_the_measured_ones():
    html = html_of(content_of())
    assert row_of(html, "Left lung") == ["480", "4.8", "1.0", "1.2", "0.2", "6.0", "1.2"]
    assert row_of(html, "Right lung") == ["720", "0.0", "0.0", "0.0", "0.0", "0.0", "0.0"]
    assert row_of(html, "Both") == ["1200", "4.8", "0.4", "1.2", "0.1", "6.0", "0.5"]
    assert row_of(html, "25-point lobe score") == ["1 / 25"]
    assert row_of(html, "PHO: lesion of −200 HU or more, %") == ["0.1"]
    assert row_of(html, "1")[:3] == ["6.0", "Left lower lobe", "6"]


def test_page_one_holds_what_is_to_be_seen_first():
    labels = sick_blocks()
    labels[0:2] = labels[2]
    blocks_ = document_of(content_of(labels, reading=Reading(impression="Pneumonia", co_rads=4)))
    first = blocks_.blocks[: next(i for i, b in enumerate(blocks_.blocks) if type(b) is NewPage)]
    notices = {one.title: one for one in first if isinstance(one, Notice)}
    assert "cuts the lungs off at the bottom" in " ".join(notices["1 warning"].lines)
    assert notices["Impression"].lines[:2] == (
        "Pneumonia",
        "CO-RADS 4: high suspicion of COVID-19",
    )
    assert notices["Impression"].lines[2] == "Not signed"


def test_html_stands_alone_and_is_no_markup():
    reading = Reading(NASTY, NASTY, 3, reader=NASTY, signed="2026-01-02T03:04:05+00:00")
    content = content_of(reading=reading, identity=Identity(name=NASTY))
    html = document_html(findings_document(content, {}))
    assert "<script" not in html
    assert "<b>fett" not in html
    assert html.count("&lt;script&gt;") >= 4
    assert re.findall(r'(?:src|href)="(?!data:)', html) == []
    assert html.count(RESEARCH_USE) >= 3


def test_pdf_says_the_same_with_page_numbers_and_fonts_inside():
    reading = Reading(NASTY, NASTY, 3, reader="Jörg Weiß", signed="2026-01-02T03:04:05+00:00")
    pdf = pdf_of(content_of(reading=reading))
    text = words(pdf)
    assert '<script>alert("1")</script> & <b>fett</b> <para> Übergrößenträger' in text
    assert "Signed by Jörg Weiß, 2026-01-02 03:04 UTC" in text
    assert "Left lung 480 4.8 1.0 1.2 0.2 6.0 1.2" in text
    many = len(pdf.pages)
    assert many >= 2
    for number, page in enumerate(pdf.pages, start=1):
        assert f"Page {number} / {many}" in page.extract_text()
        assert RESEARCH_USE in " ".join(page.extract_text().split())
    fonts = [f.get_object() for f in pdf.pages[0]["/Resources"]["/Font"].get_object().values()]
    used = [font for font in fonts if "DejaVu" in font["/BaseFont"]]
    assert used
    assert all("/FontFile2" in font["/FontDescriptor"] for font in used)


def test_no_identifiers_unless_given():
    quiet = content_of()
    named = content_of(identity=Identity("Doe, Jane", "4711", "1970-01-31", "2020-03-01"))
    assert "patient" not in quiet.to_json()
    assert named.to_json()["patient"]["patient_id"] == "4711"
    assert "Doe, Jane · ID 4711 · born 1970-01-31" in html_of(named)
    assert "Study of 2020-03-01" in words(pdf_of(named), 0)
    assert "Jane" not in findings_text(named)


def test_where_it_comes_from():
    html = html_of(content_of(origin=ORIGIN))
    assert row_of(html, "Model") == ["covseg-default 2"]
    assert row_of(html, "Model, SHA-256") == ["ab" * 32]
    assert row_of(html, "Settings") == ["flips none"]
    assert row_of(html, "Labels") == ["as the model drew them, not corrected by hand"]
    assert "The lungs are small." in html
    changed = Origin(True, True, ORIGIN.model, ORIGIN.provenance, ORIGIN.warnings)
    html = html_of(content_of(origin=changed))
    assert row_of(html, "Labels") == ["corrected by hand after the model drew them"]
    assert "The lungs are small." not in html
    assert row_of(html_of(content_of()), "Labels")[0].startswith("not known")


def test_choices_stand_in_the_footnote():
    text = " ".join(notes(content_of().result))
    for said in (
        "lesion voxels of −200 HU or more",
        "emphysema below −950",
        "inflated −950 up to −700",
        "25, 50 and 75 % belong to the lower band",
        "5 above 75 %",
        "1 below 50 %, 2 from 50 % on",
        "equal volumes of lung",
        "approximated by planes",
        "Prokop",
    ):
        assert said in text, said


def test_findings_as_text():
    reading = Reading("Seen.", "Mild.", 2, reader="A. Roe", signed="2026-01-02T03:04:05+00:00")
    text = findings_text(content_of(reading=reading, origin=ORIGIN))
    flat = " ".join(text.split())
    assert max(map(len, text.splitlines())) <= 100
    assert not re.search(r"\d\n(ml|%)", text)
    assert text.isascii()
    assert "Opacities in 0.5 % of the lungs, 6.0 ml: ground-glass opacity 0.4 %, 4.8 ml" in flat
    assert "By side: right lung 0.0 %, left lung 1.2 %." in flat
    assert "lower predominance" in flat
    assert "1 lesion of 0.05 ml or more; the largest 6.0 ml, in the left lower lobe." in flat
    assert "25-point lobe score: 1/25, approximate lobes." in flat
    assert "IMPRESSION: Mild. CO-RADS 2: low suspicion" in flat
    assert "SIGNED: A. Roe, 2026-01-02 03:04 UTC" in flat
    assert "not corrected by hand" in flat
    clear = findings_text(content_of(blocks()))
    assert "No ground-glass opacity and no consolidation" in clear
    assert "predominance" not in clear


def test_a_readers_scores_beside_the_measured():
    scores = (ReaderScore("ct_score_25", 3, (0, 0, 1, 0, 2)), ReaderScore("ct_severity_score", 5))
    html = html_of(content_of(reading=Reading(scores=scores)))
    section = html[html.index("Reader and measurement") :]
    assert row_of(section, "25-point lobe score") == ["3", "1 / 25", "–", "+2"]
    assert row_of(section, "Right lower lobe") == ["1", "0"]
    assert row_of(section, "Left lower lobe") == ["2", "1"]
    # Squared differences: 2 in 5 pairs; 24 in 25 if each were paired with each. 1 - 0.4 / 0.96.
    assert "over the 5 parts: 0.58" in section
    assert "Reader and measurement" not in html_of(content_of())


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nonsense", 1), "no score is called"),
        (("ct_score_25", 26), "expected 0 to 25"),
        (("ct_score_25", 3, (1, 1, 1)), "5 of its parts"),
        (("ct_score_25", 6, (6, 0, 0, 0, 0)), "0 to 5 points"),
        (("ct_score_25", 2, (1, 0, 0, 0, 0)), "do not add up"),
    ],
)
def test_a_score_out_of_range_is_refused(arguments, why):
    with pytest.raises(UsageError, match=why):
        ReaderScore(*arguments)


def test_co_rads_is_a_category():
    with pytest.raises(UsageError, match="expected 0 to 6"):
        Reading(co_rads=7)


def test_no_lung_gives_no_number():
    content = content_of(np.zeros_like(blocks()))
    html = html_of(content)
    assert row_of(html, "Both") == ["0.0", "0.0", "–", "0.0", "–", "0.0", "–"]
    assert "25-point lobe score" in html
    assert row_of(html, "25-point lobe score") == ["–"]
    assert "No lung was found" in " ".join(content.warnings)
    assert "nothing can be measured" in findings_text(content)
    assert json.dumps(content.to_json(), allow_nan=False)
    pictures = run_to_end(findings_figures(content))
    assert "map" not in pictures
    assert len(pdf_of(content, pictures).pages) >= 2


def test_a_missing_lung_is_said_and_not_counted():
    labels = sick_blocks()
    labels[RIGHT] = 0
    html = html_of(content_of(labels))
    assert "No right lung was found: its figures are left out" in html
    assert "<td>Right lung</td>" not in html
    assert row_of(html, "25-point lobe score") == ["–"]
    assert "No score: no right lung was found." in html


def test_a_ct_on_another_grid_is_not_used():
    labels = sick_blocks()
    other = as_volume(labels[:-1])
    content = content_of(labels, volume=other)
    html = html_of(content)
    assert "is not on the grid of the label map" in html
    assert row_of(html, "PHO: lesion of −200 HU or more, %") == ["–"]
    assert html.count("there is no CT on the grid of the label map") == 2
    assert content.planes.key_axial.hu is None
    assert content.provenance.input_sha256 == ""
    assert row_of(html, "Both")[0] == "1200"


def test_without_the_size_of_a_voxel_there_are_no_volumes():
    labels = sick_blocks()
    ct = replace(as_volume(labels), warnings=("the slice has no thickness: 1 mm was assumed",))
    content = content_of(labels, volume=ct)
    html = html_of(content)
    assert row_of(html, "Left lung") == ["–", "–", "1.0", "–", "0.2", "–", "1.2"]
    assert "The size of a voxel is not known" in html[: html.index("</section>")]
    assert "Lung volume not known" in findings_text(content)
    assert " ml:" not in findings_text(content)


def test_likely_ranges_where_the_model_says_how_sure_it_was():
    labels = sick_blocks()
    likely = np.where(np.isin(labels, (Label.GGO, Label.CONSOLIDATION)), 250, 0)
    likely[5, 20:32, 62:72] = 150
    likely[5, 32:44, 62:72] = 80
    doubt = Doubt(as_map(labels).geometry, likely.astype(np.uint8)[None])
    result = run_to_end(quantify(as_map(labels), as_volume(labels), doubt=doubt))
    content = replace(content_of(labels), result=result)
    html = html_of(content)
    left = row_of(html, "Left")
    assert left[5:7] == ["6.0", "1.2 (0.8 to 1.8)"]
    assert row_of(html, "25-point lobe score") == ["1 / 25", "1 to 1"]
    assert "Likely range: the figure if the model had decided more strictly" in html
    assert "about 4 times in 5" in html[: html.index("</section>")]
    assert "Opacities in 0.5 (0.3 to 0.7) % of the lungs" in findings_text(content)
    assert "No likely ranges" not in html
    assert "No likely ranges" in html_of(content_of(labels))
    assert "Likely range" not in html_of(content_of(labels))


def test_disagreement_of_thresholds_is_flagged_on_page_one():
    labels = sick_blocks()
    hu = as_volume(blocks())
    html = html_of(content_of(labels, volume=hu))
    first = html[: html.index("</section>")]
    assert "Second opinion by HU thresholds: does not fit" in first
    assert "Only 0 % of the labelled lesions" in first
    assert "does not contradict" in html_of(content_of())


def test_pictures_are_those_of_the_case(tmp_path):
    content = content_of()
    pictures = run_to_end(findings_figures(content))
    assert set(pictures) == {"key", "axial", "coronal", "map", "histogram"}
    for picture in pictures.values():
        assert isinstance(picture, Picture)
        array = imread(io.BytesIO(picture.data), format=picture.kind)
        assert array.shape[1] > 1200
        assert array.std() > 0.02
    html = document_html(document_of(content, pictures))
    assert html.count('src="data:image/') == 5


def test_amber_is_on_the_right_of_the_picture_for_a_lesion_on_the_left():
    pictures = run_to_end(findings_figures(content_of()))
    picture = imread(io.BytesIO(pictures["key"].data), format="jpeg").astype(int)
    height, width, _ = picture.shape
    outlined = picture[: height // 3, width // 2 :]
    amber = (outlined[..., 0] > 200) & (outlined[..., 2] < 90) & (outlined[..., 1] > 120)
    assert amber.any()
    middle = outlined.shape[1] / 2
    assert np.nonzero(amber)[1].mean() > middle
    bare = picture[: height // 3, : width // 2]
    assert not ((bare[..., 0] > 200) & (bare[..., 2] < 90)).any()


def test_page_one_is_one_page_with_many_warnings():
    content = content_of(reading=Reading(impression=textwrap.fill("Long text. " * 40, 90)))
    content = replace(content, warnings=tuple(f"Something is wrong, number {n}." for n in range(8)))
    pictures = run_to_end(findings_figures(content))
    pdf = pdf_of(content, pictures)
    assert "number 7" in words(pdf, 0)
    assert len(pdf.pages[0].images) == 1
    assert words(pdf, 1).startswith("Axial slices")


def test_lesions_beyond_the_list_are_counted():
    labels = blocks()
    rows, columns = range(12, 48, 6), range(12, 38, 5)
    for z in (6, 14):
        for y in rows:
            for x in columns:
                labels[z : z + 2, y : y + 2, x : x + 2] = Label.GGO
    many = 2 * len(rows) * len(columns)
    html = html_of(content_of(labels))
    assert f"{many - 25} smaller lesions not listed here." in html
    assert labels[LEFT].max() == Label.LEFT_LUNG
