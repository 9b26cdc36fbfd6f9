"""Classify files into files: ``<case>.json``, ``classification.csv``, and heat maps as PNG."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume
from napari_covseg.io.csv_cells import csv_cell
from napari_covseg.workflows.classify import Classification, classify, read_source
from napari_covseg.workflows.classify_settings import ClassifySettings

if TYPE_CHECKING:
    from napari_covseg.models.image_classifier import ImageClassifier

TABLE = "classification.csv"


@dataclass(frozen=True, eq=False)
class ClassifiedFile:
    """What was said of a file, and the files that say it; ``heat_path`` only with heat maps."""

    case: str
    result: Classification
    json_path: Path
    heat_path: Path | None


def classify_file(
    path: Path,
    output: Path,
    classifier: ImageClassifier,
    settings: ClassifySettings,
    name_case: Callable[[str], str],
) -> Steps[ClassifiedFile]:
    """Classify one picture or CT into ``<case>.json`` and, if asked for, ``<case>_gradcam.png``.

    ``name_case`` gets a name for the case and says which one to use: a file's own without its
    suffix, a pseudonym for DICOM.

    Raises
    ------
    InputError, ResourceError
        If the file cannot be read; if the folder cannot be written to.
    """
    from napari_covseg.io.atomic import atomic_file, write_json

    yield Progress(0, 1, f"reading {path.name}")
    source = read_source(path)
    case = name_case(case_of(path, source))
    result = yield from classify(source, settings, classifier)
    heat_path = None
    if result.heat is not None:
        heat_path = output / f"{case}_gradcam.png"
        with atomic_file(heat_path) as file:
            file.write(_png(result))
    content = {"case": case, **result.to_dict()}
    if heat_path is not None:
        content["heat_map_file"] = heat_path.name
    json_path = write_json(output / f"{case}.json", content)
    return ClassifiedFile(case, result, json_path, heat_path)


def append_row(table: Path, done: ClassifiedFile) -> None:
    """Add a line to the table; the first one brings the header."""
    row = table_row(done)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, row)
    if not table.exists():
        writer.writeheader()
    writer.writerow({key: csv_cell(value) for key, value in row.items()})
    with table.open("a", encoding="utf-8", newline="") as file:
        file.write(text.getvalue())


def table_row(done: ClassifiedFile) -> dict[str, Any]:
    """A case as a row of the table."""
    result = done.result
    chances = zip(result.classes, result.probabilities, strict=True)
    return {
        "case": done.case,
        "label": result.label,
        **{f"probability_{name}": f"{chance:.4f}" for name, chance in chances},
        "entropy": f"{result.entropy:.4f}",
        "unsure": "yes" if result.unsure else "no",
        "most_similar": result.similar[0].name if result.similar else "",
        "warnings": " ".join(result.warnings),
    }


def case_of(path: Path, source: object) -> str:
    """What a case is called: a file's own name without its suffix, a pseudonym for DICOM."""
    from napari_covseg.io import is_dicom
    from napari_covseg.io.images import content_hash

    if isinstance(source, CTVolume):
        return source.case
    # Names of DICOM files may be those of people.
    return f"dicom_{content_hash(path)[:12]}" if is_dicom(path) else path.stem


def _png(result: Classification) -> bytes:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    from napari_covseg.reports.classification_figures import heat_picture

    assert result.heat is not None
    about = PngInfo()
    about.add_text("Description", json.dumps({"label": result.label, "notice": "Not a diagnosis."}))
    buffer = io.BytesIO()
    Image.fromarray(heat_picture(result.grey, result.heat)).save(buffer, "PNG", pnginfo=about)
    return buffer.getvalue()
