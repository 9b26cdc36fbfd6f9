"""Measure a case from files: its CT, its label map and, where there is one, a lobe map."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg import __version__
from napari_covseg.domain.labels import Label
from napari_covseg.domain.lobes import Lobe
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.io.csv_cells import csv_cell

if TYPE_CHECKING:
    from napari_covseg.quantify.case import Quantification

ASSUMED = "has no thickness"
"""What a reader's warning holds where a voxel's size was assumed."""
CSV_COLUMNS = ("case", "group", "name", "figure", "value", "low", "high", "unit", "note")


@dataclass(frozen=True, slots=True)
class QuantifySettings:
    """How a case is measured.

    Parameters
    ----------
    series
        The DICOM series instance UID of the CT; without it the largest axial series.
    window
        ``(low, high)`` HU that black and white stand for, for a CT that is not in HU.
    label_map
        What the numbers in the label file mean (`parse_label_map`).
    lobe_map
        What the numbers in the lobe file mean (`parse_lobe_map`).
    """

    series: str | None = None
    window: tuple[float, float] | None = None
    label_map: Mapping[int, Label] | None = None
    lobe_map: Mapping[int, Lobe] | None = None


def quantify_files(
    labels: Path,
    ct: Path | None = None,
    lobes: Path | None = None,
    settings: QuantifySettings | None = None,
) -> Steps[Quantification]:
    """Read a case's files and measure it.

    Parameters
    ----------
    labels
        Its label map.
    ct
        Its CT; without it there is nothing about density.
    lobes
        Its lobes; without them they are approximated.
    settings
        How to read and measure.

    Raises
    ------
    InputError
        If a file cannot be read.
    ResourceError
        If memory ran out.
    """
    from napari_covseg.io import ScanGrid, read_labels, read_volume
    from napari_covseg.io.lobes import read_lobes
    from napari_covseg.quantify.case import quantify

    settings = settings or QuantifySettings()
    volume, onto = None, None
    if ct is not None:
        yield Progress(0, 1, f"reading {ct.name}")
        volume = read_volume(ct, series=settings.series, window=settings.window)
        onto = ScanGrid(volume.geometry, ct, settings.series)
    yield Progress(0, 1, f"reading {labels.name}")
    label_map = read_labels(labels, label_map=settings.label_map, onto=onto)
    lobe_map = None if lobes is None else read_lobes(lobes, settings.lobe_map)
    if volume is None:
        return (yield from quantify(label_map, lobes=lobe_map))
    assumed = any(ASSUMED in warning for warning in volume.warnings)
    return (yield from quantify(label_map, volume, lobe_map, spacing_known=not assumed))


def to_json(result: Quantification) -> dict[str, Any]:
    """All of it with what the figures rest on; plain values, no NaN, no patient data."""
    return {"version": __version__, **result.to_dict(), "choices": choices()}


def choices() -> dict[str, Any]:
    """The limits and conventions behind the figures, for a footnote."""
    from napari_covseg.quantify import checks, density, doubt, lesions, lobes, second_opinion

    return {
        "bands_hu": {name: [low, high] for name, low, high in density.BANDS},
        "high_opacity_from_hu": density.HIGH_OPACITY_HU,
        "emphysema_below_hu": density.EMPHYSEMA_HU,
        "divisions": "thirds, ventral/dorsal and central/peripheral hold equal volumes of lung",
        "lobe_shares_percent": {
            lobe.name.lower(): share for lobe, share in lobes.LOBE_SHARES.items()
        },
        "score_limits": "25, 50 and 75 % belong to the lower band of LSS, LHOS and the total "
        "severity score; 5, 50 and 75 % of the 25-point score to the band that begins or ends "
        "with them (5-25, 50-75); 50 % is 2 points in the CT severity score",
        "likely_range_log_odds": doubt.SHIFT,
        "smallest_lesion_ml": lesions.SMALLEST_ML,
        "missing_lung_share": checks.MISSING_SHARE,
        "disagreement_unlabelled_dense_percent": second_opinion.MOST_UNLABELLED_PERCENT,
    }


def to_rows(result: Quantification, more: Iterable[Mapping[str, Any]] = ()) -> list[dict[str, Any]]:
    """One row for each figure, with the keys of `CSV_COLUMNS`; empty where there is none.

    ``more`` rows, of what is not measured, come last.
    """
    rows = [
        *_part_rows(result),
        *_density_rows(result),
        *_score_rows(result),
        *_lesion_rows(result),
        *more,
    ]
    return [{"case": result.case, **dict.fromkeys(CSV_COLUMNS[1:], ""), **row} for row in rows]


def to_csv(result: Quantification, more: Iterable[Mapping[str, Any]] = ()) -> str:
    """`to_rows` as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in to_rows(result, more):
        writer.writerow({key: csv_cell(value) for key, value in row.items()})
    return text.getvalue()


def write_quantification(result: Quantification, path: Path) -> Path:
    """Write JSON, or CSV if the name ends so; makes the folder.

    Raises
    ------
    InputError, ResourceError
        If it cannot be written.
    """
    from napari_covseg.io.atomic import atomic_file, write_json
    from napari_covseg.workflows.segment import make_folder

    make_folder(path.parent)
    if path.suffix.lower() != ".csv":
        return write_json(path, to_json(result))
    with atomic_file(path) as file:
        file.write(to_csv(result).encode(errors="replace"))
    return path


def _part_rows(result: Quantification) -> Iterator[dict[str, Any]]:
    groups = {"part": result.parts, f"lobe_{result.lobes_from}": result.lobes}
    groups["region_approximate"] = result.regions
    for group, parts in groups.items():
        for name, one in parts.items():
            place = {"group": group, "name": name}
            yield {**place, "figure": "lung", "value": one.lung_ml, "unit": "ml"}
            for kind in ("ggo", "consolidation", "lesions", "high_opacity"):
                amount = getattr(one, kind)
                if amount is None:
                    continue
                low, high = amount.percent_range or (None, None)
                yield {**place, "figure": kind, "value": amount.ml, "unit": "ml"}
                share = {"value": amount.percent, "low": low, "high": high, "unit": "%"}
                yield {**place, "figure": kind, **share}


def _density_rows(result: Quantification) -> Iterator[dict[str, Any]]:
    units = {"mean_hu": "HU", "mass_g": "g", "perc15_hu": "HU", "laa950_percent": "%"}
    for name, one in (result.density or {}).items():
        place = {"group": "density", "name": name}
        for figure, unit in units.items():
            yield {**place, "figure": figure, "value": getattr(one, figure), "unit": unit}
        for band, share in one.bands_percent.items():
            yield {**place, "figure": f"{band}_band", "value": share, "unit": "%"}


def _score_rows(result: Quantification) -> Iterator[dict[str, Any]]:
    for key, score in result.scores.items():
        low, high = score.value_range or (None, None)
        note = score.note or ("approximate" if score.approximate else "")
        found = {"value": score.value, "low": low, "high": high, "unit": "points", "note": note}
        yield {"group": "score", "name": key, "figure": f"of {score.maximum}", **found}


def _lesion_rows(result: Quantification) -> Iterator[dict[str, Any]]:
    yield {"group": "lesions", "name": "all", "figure": "count", "value": result.lesions.count}
    for lesion in result.lesions.listed:
        place = {"group": "lesion", "name": str(lesion.number), "note": lesion.side}
        for figure, unit in (("ml", "ml"), ("mean_hu", "HU"), ("mass_g", "g")):
            yield {**place, "figure": figure, "value": asdict(lesion)[figure], "unit": unit}
