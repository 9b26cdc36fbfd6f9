"""``covseg info``: version, device and models; or what an input holds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.output import print_json

if TYPE_CHECKING:
    from napari_covseg.io import SeriesInfo


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "info",
        help="show version, device and models; or the series and geometry of an input",
        description="Without INPUT: version, the device found and how to get a better one, and "
        "the models with their hashes and licences. With INPUT: its series, or its geometry.",
    )
    parser.add_argument("input", nargs="?", metavar="INPUT", help="a CT to describe")
    parser.add_argument("--json", action="store_true", help="print JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Describe the installation or an input."""
    if args.input is None:
        content = describe_installation()
        if not args.json:
            _print_installation(content)
    else:
        content = {"inputs": describe_inputs(Path(args.input))}
        if not args.json:
            for one in content["inputs"]:
                _print_input(one)
    if args.json:
        print_json(content)
    return 0


def describe_installation() -> dict[str, Any]:
    """Version, device and models, as plain values."""
    from napari_covseg import __version__
    from napari_covseg.models.device import choose_device
    from napari_covseg.models.zoo import available, load

    device = choose_device("auto")
    models = []
    for name in available():
        model = load(name)
        models.append(
            {
                "name": model.name,
                "version": model.version,
                "sha256": model.sha256,
                "licence": model.card.get("licence", model.card.get("license", "not stated")),
            }
        )
    return {
        "version": __version__,
        "device": {
            "name": device.name,
            "title": device.title,
            "precision": device.precision,
            "hint": device.hint,
        },
        "models": models,
    }


def describe_inputs(path: Path) -> list[dict[str, Any]]:
    """What a path names: the series of DICOM input, the geometry of each volume file.

    Raises
    ------
    InputError
        If there is no input, or one cannot be read.
    """
    from napari_covseg.io import find_inputs

    return [_describe(one) for one in find_inputs([path])]


def _describe(path: Path) -> dict[str, Any]:
    from napari_covseg.io import is_dicom, list_series, read_volume

    if path.is_dir() or path.suffix.lower() == ".zip" or (path.is_file() and is_dicom(path)):
        return {"input": path.name, "series": [_series(one) for one in list_series(path)]}
    volume = read_volume(path)
    return {
        "input": path.name,
        "format": volume.source,
        "case": volume.case,
        "shape_zyx": list(volume.geometry.shape),
        "spacing_zyx_mm": [round(mm, 4) for mm in volume.geometry.spacing_mm],
        "oblique_degrees": round(volume.geometry.oblique_degrees, 2),
        "hu_range": [float(volume.hu.min()), float(volume.hu.max())],
        "warnings": list(volume.warnings),
    }


def _series(one: SeriesInfo) -> dict[str, Any]:
    return {
        "uid": one.uid,
        "number": one.number,
        "description": one.description,
        "modality": one.modality,
        "slices": one.slices,
        "plane": one.plane,
        "spacing_zyx_mm": None if one.spacing_mm is None else list(one.spacing_mm),
        "loadable": one.loadable,
        "reason": one.reason,
    }


def _print_installation(content: dict[str, Any]) -> None:
    device = content["device"]
    print(f"covseg {content['version']}")
    print(f"device: {device['title']}, {device['name']}, {device['precision']}")
    if device["hint"]:
        print(f"  {device['hint']}")
    if not content["models"]:
        print("models: none are shipped with this installation")
    for model in content["models"]:
        print(f"model: {model['name']} {model['version']}")
        print(f"  sha256 {model['sha256']}")
        print(f"  licence: {model['licence']}")


def _print_input(content: dict[str, Any]) -> None:
    if "series" not in content:
        for key, value in content.items():
            if key == "warnings":
                for warning in value:
                    print(f"warning: {warning}")
            elif isinstance(value, list):
                print(f"{key}: {' '.join(f'{v:g}' for v in value)}")
            else:
                print(f"{key}: {value}")
        return
    for one in content["series"]:
        spacing = one["spacing_zyx_mm"]
        size = "spacing unknown" if spacing is None else " x ".join(f"{v:.2f}" for v in spacing)
        print(f"{one['uid']}")
        print(
            f"  {one['modality']}, {one['slices']} slices, {one['plane']}, {size}"
            f"{' mm' if spacing else ''}, {one['description'] or 'no description'}"
        )
        if not one["loadable"]:
            print(f"  cannot be segmented: {one['reason']}")
