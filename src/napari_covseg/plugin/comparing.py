"""Two CTs of one patient in the viewer: what is compared, in a thread, and what is shown. No Qt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_covseg.domain.change import CHANGE_COLOURS
from napari_covseg.domain.errors import InputError
from napari_covseg.domain.labels import Label
from napari_covseg.domain.progress import Progress, Steps
from napari_covseg.domain.volume import CTVolume, LabelMap
from napari_covseg.plugin.layers import (
    LESIONS,
    LUNGS,
    LayerTuple,
    Placement,
    join,
    volume_of,
)

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_covseg.domain.lobes import LobeMap
    from napari_covseg.plugin.session import Session
    from napari_covseg.quantify.change import Change, ComparedScans
    from napari_covseg.quantify.change_figures import RegionChange
    from napari_covseg.quantify.lesion_changes import LesionChange

CHANGE = "Change"
POOR_CHANGE = "Change (lungs do not fit)"
NONE = "–"
REGION_COLUMNS = ("Before", "Now", "Diff", "%", "New", "Gone")
LESION_COLUMNS = ("Became", "Side", "Before", "Now", "%")
REGIONS = {
    "both": "Both lungs",
    "right": "Right",
    "left": "Left",
    "upper_third": "Upper third",
    "middle_third": "Middle third",
    "lower_third": "Lower third",
}
STATE_TITLES = {
    "persistent": "stayed",
    "to_consolidation": "turned from GGO to consolidation",
    "to_ggo": "turned from consolidation to GGO",
}


@dataclass(frozen=True, eq=False)
class Scan:
    """A CT in the viewer with the layers of its labels."""

    ct: Image
    lungs: Labels | None
    lesions: Labels | None

    @property
    def layers(self) -> tuple[Labels, ...]:
        """The label layers that are there."""
        return tuple(layer for layer in (self.lungs, self.lesions) if layer is not None)

    def read(self) -> tuple[CTVolume, LabelMap]:
        """The CT, and a copy of what its labels hold now.

        Raises
        ------
        InputError
            If it has no lungs yet.
        """
        volume = volume_of(self.ct)
        if self.lungs is None:
            raise InputError(f"{self.ct.name} has no labels yet: segment it first, in Segment")
        labels = join(
            (np.array(layer.data), {"name": name, "metadata": dict(layer.metadata)})
            for layer, name in ((self.lungs, LUNGS), (self.lesions, LESIONS))
            if layer is not None
        )
        return volume, replace(labels, case=volume.case)


def scan_of(session: Session, ct: Image) -> Scan:
    """A CT with the labels over it."""
    return Scan(ct, *session.labels_of(ct))


@dataclass(frozen=True, eq=False)
class Compared:
    """What came of comparing: the change, and the prior on the current scan's grid.

    ``prior_hu`` and ``prior_labels`` are ``(z, y, x)``; -1024 HU and 0 where the prior does not
    reach.
    """

    scans: ComparedScans
    current: tuple[CTVolume, LabelMap]
    prior: tuple[CTVolume, LabelMap]
    prior_hu: NDArray
    prior_labels: NDArray[np.uint8]

    @property
    def change(self) -> Change:
        """What changed."""
        return self.scans.change


def compare_steps(
    current: Scan, prior: Scan, *, deformable: bool, lobes: LobeMap | None = None
) -> Steps[Compared]:
    """Compare two scans as their layers are at this call; the steps run in a thread.

    ``lobes`` are those of the current scan; without them they are approximated.

    Raises
    ------
    InputError
        If one has no lungs.
    """
    now, before = current.read(), prior.read()

    def steps() -> Steps[Compared]:
        from napari_covseg.quantify.mapping import carry_values
        from napari_covseg.workflows.change import compare

        scans = yield from compare(now, before, deformable, lobes)
        yield Progress(0, 1, "laying the prior over the current scan")
        mapping, grids = scans.registration.mapping, (before[0].geometry, now[0].geometry)
        hu = carry_values(np.asarray(before[0].hu), *grids, mapping, fill=-1024)
        labels = carry_values(before[1].labels, *grids, mapping, fill=0, order=0)
        return Compared(scans, now, before, hu, labels)

    return steps()


def saved_steps(compared: Compared, folder: Path) -> Steps[tuple[Path, ...]]:
    """Write the files of ``covseg change`` into a folder."""
    from napari_covseg.workflows.change import write_change

    name = compared.change.case or "case"
    return write_change(compared.scans, compared.current, compared.prior[0], folder, name)


def change_layer(compared: Compared, placement: Placement) -> LayerTuple:
    """The map of change in its colours; shown, never saved as labels, so without a placement."""
    from napari.utils.colormaps import DirectLabelColormap

    table: dict[int | None, str] = {None: "transparent", 0: "transparent"}
    table.update({int(label): colour for label, colour in CHANGE_COLOURS.items()})
    arguments = {
        **_place(placement),
        "name": CHANGE if compared.change.registration.verdict != "poor" else POOR_CHANGE,
        "opacity": 0.6,
        "colormap": DirectLabelColormap(color_dict=table),
    }
    return compared.change.map, arguments, "labels"


def prior_layer(
    compared: Compared, placement: Placement, limits: tuple[float, float]
) -> LayerTuple:
    """The prior CT laid over the current one; hidden at first, to be switched to and fro."""
    arguments = {
        **_place(placement),
        "name": f"Prior {compared.change.prior_case} laid over".replace("  ", " "),
        "colormap": "gray",
        "contrast_limits": limits,
        "visible": False,
    }
    return compared.prior_hu, arguments, "image"


def _place(placement: Placement) -> dict[str, Any]:
    geometry = placement.geometry
    return {
        "scale": geometry.spacing_mm,
        "translate": geometry.origin_mm[::-1],
        "units": ("mm", "mm", "mm"),
        "axis_labels": ("z", "y", "x"),
        "metadata": {},
    }


def lesion_voxel(one: LesionChange, placement: Placement) -> tuple[int, int, int]:
    """The voxel ``(z, y, x)`` at the middle of a lesion, in the slice with most of it."""
    geometry = placement.geometry
    index = np.linalg.inv(geometry.affine) @ np.append(one.position_mm, 1.0)
    _, height, width = geometry.shape
    y = int(np.clip(round(float(index[1])), 0, height - 1))
    x = int(np.clip(round(float(index[0])), 0, width - 1))
    return one.slice_index, y, x


# Texts


def fit_text(change: Change) -> str:
    """How well the lungs fit, in a sentence."""
    found = change.registration
    verdict = {"good": "Good fit", "fair": "Fair fit", "poor": "Poor fit"}[found.verdict]
    away = "" if found.surface_mm is None else f", {found.surface_mm:.1f} mm apart"
    return f"{verdict} of the lungs (Dice {found.lung_dice:.2f}{away}, {found.method})"


def interval_text(change: Change) -> str:
    """How far apart the scans are; empty where nobody knows."""
    days = change.interval_days
    if days is None:
        return ""
    if days == 0:
        return "Both scans are of one day."
    many = "1 day" if abs(days) == 1 else f"{abs(days)} days"
    return f"{many} after the prior." if days > 0 else f"{many} before the prior."


def prior_text(change: Change) -> str:
    """What stands on the prior beside the picture: its name, and how long before it was."""
    days, name = change.interval_days, f"Prior {change.prior_case}".strip()
    if not days:
        return name
    many = "1 day" if abs(days) == 1 else f"{abs(days)} days"
    return f"{name}, {many} {'before' if days > 0 else 'after'}"


def lobes_text(change: Change) -> str:
    """Where the lobes of the table come from."""
    if change.lobes_from == "approximate":
        return (
            "RUL: right upper lobe, and so on. ≈: approximated by planes, until Quantify has a map "
            "of the current scan's lobes."
        )
    if change.lobes_from == "map":
        source = f": {change.lobes_source}" if change.lobes_source else ""
        return f"RUL: right upper lobe, and so on, from a lobe map{source}."
    return ""


def summary_text(change: Change) -> str:
    """The opacity of each scan, and what became of the prior's."""
    now, before = change.current.both, change.prior.both
    lines = [
        *filter(None, (interval_text(change),)),
        f"Opacity {_percent(before.lesions_percent)} → {_percent(now.lesions_percent)} of the "
        "lungs, each scan by itself.",
    ]
    states = change.parts["both"].states
    told = [
        f"{ml(states[name].ml)} ml {title}"
        for name, title in STATE_TITLES.items()
        if states[name].ml != 0
    ]
    if told:
        lines.append(f"{', '.join(told)}.")
    return " ".join(lines)


def region_rows(change: Change) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Title and cells (`REGION_COLUMNS`) of each part that is compared."""
    for name, title in REGIONS.items():
        if name in change.parts:
            yield title, _cells(change.parts[name])
    about = "≈ " if change.lobes_from == "approximate" else ""
    for name, one in change.lobes.items():
        side, level = name.split("_")
        yield f"{about}{side[0]}{level[0]}l".upper(), _cells(one)


def _cells(one: RegionChange) -> tuple[str, ...]:
    found = one.lesions
    return (
        ml(found.prior_ml),
        ml(found.current_ml),
        ml(found.change_ml, sign=True),
        _signed_percent(found.change_percent),
        ml(one.states["appeared"].ml),
        ml(one.states["resolved"].ml),
    )


def lesion_cells(one: LesionChange) -> tuple[str, ...]:
    """The cells (`LESION_COLUMNS`) of a lesion."""
    kind = one.kind.replace("_", " ")
    became = one.trend if one.kind == "matched" else f"{kind} {one.trend}".strip()
    return (
        became,
        one.side,
        ml(one.prior_ml),
        ml(one.current_ml),
        _signed_percent(one.change_percent) if one.prior and one.current else NONE,
    )


def counts_text(change: Change) -> str:
    """How many lesions became what."""
    counts = change.lesions.counts
    if not counts:
        return "No lesion in either scan."
    told = [
        f"{counts[kind]} {kind.replace('_', ' ')}"
        for kind in ("new", "resolved", "grown", "shrunk", "stable", "merged", "split",
                     "rearranged", "not_compared")
        if kind in counts
    ]  # fmt: skip
    return f"Lesions: {', '.join(told)}. Click one to go to it."


def ml(value: float | None, *, sign: bool = False) -> str:
    """No decimals from 10 ml on, one below; with a sign where it is a difference."""
    if value is None:
        return NONE
    text = f"{abs(value):.0f}" if abs(value) >= 9.95 else f"{abs(value):.1f}"
    before = "−" if value < 0 and float(text) else "+" if sign and float(text) else ""
    return before + text


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.1f} %"


def _signed_percent(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:+.0f}".replace("-", "−") if round(value) else "0"


def outlined(labels: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Lesion voxels of a slice ``(y, x)`` at the edge of their kind."""
    lesion = np.where((labels >= Label.GGO) & (labels <= Label.INFECTION), labels, 0)
    edge = np.zeros(lesion.shape, bool)
    edge[:-1] |= lesion[:-1] != lesion[1:]
    edge[1:] |= lesion[:-1] != lesion[1:]
    edge[:, :-1] |= lesion[:, :-1] != lesion[:, 1:]
    edge[:, 1:] |= lesion[:, :-1] != lesion[:, 1:]
    return edge & (lesion > 0)
