"""``covseg export``: a label map as DICOM SEG, SR or RTSTRUCT, NIfTI, NRRD or ``.seg.nrrd``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.network import add_tls, positive, tls_of
from napari_covseg.cli.output import print_json, progress_bars
from napari_covseg.cli.reading import LABEL_MAP, label_map_of
from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.io.dicom_peer import Peer
    from napari_covseg.io.dicom_send import SendSettings

DICOM = ("dicom-seg", "dicom-sr", "rtstruct")
FORMATS = (*DICOM, "nifti", "nrrd", "seg-nrrd")


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "export",
        help="write a label map as DICOM SEG, SR, RTSTRUCT, NIfTI, NRRD or Slicer segmentation",
        description="DICOM refers to the series the labels were made from. What would be written "
        "is read back and compared first. An SR comes with the SEG it refers to. Contours "
        "(RTSTRUCT) are read onto the scan they were drawn on: name it with --source.",
    )
    parser.add_argument(
        "labels", metavar="LABELS", help="a label map, as segment writes it, or contours (RTSTRUCT)"
    )
    parser.add_argument(
        "--source",
        metavar="INPUT",
        help="the scan: a DICOM folder, zip or file; for DICOM required, else to check the grid",
    )
    parser.add_argument("--format", required=True, choices=FORMATS, help="what to write")
    parser.add_argument(
        "--output", required=True, metavar="PATH", help="a file, or a folder that exists"
    )
    parser.add_argument(
        "--series", metavar="UID", help="which series of INPUT, where several hold the labels"
    )
    parser.add_argument(
        "--label-map",
        metavar=LABEL_MAP,
        help="what the numbers in LABELS mean, such as lung=1,infection=2; without it the file "
        "says so, or they are ours",
    )
    parser.add_argument(
        "--made-by",
        choices=("automatic", "corrected", "manual"),
        help="how the labels were made (DICOM); without it the JSON beside LABELS says so",
    )
    parser.add_argument(
        "--person",
        default="",
        metavar="NAME",
        help="who corrected, drew or checked the labels, Family^Given: written into DICOM",
    )
    _add_sending(parser)
    parser.add_argument("--json", action="store_true", help="print the paths as JSON only")
    parser.set_defaults(func=run)


def _add_sending(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--send",
        metavar="AE@HOST:PORT",
        help="send what was written to a PACS too (DICOM; needs the extra pacs)",
    )
    parser.add_argument(
        "--calling-ae", default="COVSEG", metavar="TITLE", help="our AE title (default COVSEG)"
    )
    parser.add_argument(
        "--timeout",
        type=positive,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for the PACS (default 30)",
    )
    add_tls(parser, "who signed the PACS's certificate (PEM); without it, whom the system trusts")


def run(args: argparse.Namespace) -> int:
    """Export and say what was written."""
    from napari_covseg.domain.progress import run_to_end
    from napari_covseg.workflows.export import ExportSettings, export

    settings = ExportSettings(
        args.format, args.series, label_map_of(args.label_map), args.made_by, args.person
    )
    sending = _sending(args)
    with progress_bars() as start:
        steps = export(Path(args.labels), Path(args.output), settings, args.source)
        result = run_to_end(steps, start("export"))
        if sending is not None:
            from napari_covseg.io.dicom_send import send_files

            run_to_end(send_files(result.paths, *sending), start("send"))
    sent = {} if sending is None else {"sent_to": str(sending[0])}
    if args.json:
        print_json({**result.to_json(), **sent})
        return 0
    for path in result.paths:
        print(path)
    if sending is not None:
        print(f"sent to {sending[0]}")
    for warning in result.warnings:
        print(f"warning: {warning}")
    return 0


def _sending(args: argparse.Namespace) -> tuple[Peer, SendSettings] | None:
    """Where to and how, checked before anything is written; None where nothing is sent."""
    tls = tls_of(args)
    if args.send is None:
        if tls is not None:
            raise UsageError("--tls is for --send")
        return None
    if args.format not in DICOM:
        raise UsageError(f"--send needs --format {', '.join(DICOM)}, not {args.format}")
    from napari_covseg.io.dicom_peer import Peer, ae_title, networking
    from napari_covseg.io.dicom_send import SendSettings

    networking()
    return Peer.parse(args.send), SendSettings(ae_title(args.calling_ae), args.timeout, tls)
