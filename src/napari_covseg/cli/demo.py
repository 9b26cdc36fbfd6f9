"""``covseg demo``: segment the built-in sample CT."""

from __future__ import annotations

import argparse
from typing import Any

from napari_covseg.cli.output import format_ml, print_json, progress_bars, volumes_table
from napari_covseg.cli.segment import add_settings, settings_from


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "demo",
        help="segment the built-in sample CT",
        description="Segment a synthetic chest CT; write the CT, its label map, the volumes and a "
        "picture.",
    )
    parser.add_argument(
        "--output", default="demo-output", metavar="DIR", help="folder (default demo-output)"
    )
    add_settings(parser)
    parser.add_argument("--json", action="store_true", help="print the result as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Run the demo and show what it found."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.demo import demo

    with progress_bars() as start:
        result = run_to_end(demo(args.output, settings_from(args)), start("sample CT"))
    if args.json:
        print_json(
            {
                **result.files.report,
                "true_volumes": result.true_ml,
                "volume_path": str(result.volume_path),
                "labels_path": str(result.files.labels_path),
                "json_path": str(result.files.json_path),
                "overlay_path": str(result.overlay_path),
            }
        )
        return 0
    print(volumes_table(result.files.result.measurements))
    true = ", ".join(
        f"{name} {format_ml(result.true_ml[key])} ml"
        for name, key in (
            ("lung", "lung_ml"),
            ("GGO", "ggo_ml"),
            ("consolidation", "consolidation_ml"),
        )
    )
    print(f"The sample was made with: {true}.")
    for warning in result.files.result.warnings:
        print(f"warning: {warning}")
    for path in (
        result.volume_path,
        result.files.labels_path,
        result.files.json_path,
        result.overlay_path,
    ):
        print(path)
    return 0
