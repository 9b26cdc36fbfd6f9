"""``covseg receive``: a small DICOM storage server."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from napari_covseg.cli.network import add_tls, positive, tls_of
from napari_covseg.cli.output import complain, print_json

if TYPE_CHECKING:
    from napari_covseg.io.dicom_receive import Received

LOCAL = "127.0.0.1"


def add_parser(subparsers: Any) -> None:
    """Add the verb."""
    parser = subparsers.add_parser(
        "receive",
        help="receive CT, segmentations and reports over DICOM into a folder",
        description="Listen for C-STORE until Ctrl-C and write DIR/<kind>-<series>/<object>.dcm, "
        "named by hashes of UIDs. CT, SEG, RTSTRUCT and SR are taken, nothing else. Without --host "
        "only this computer can send. Needs the extra pacs: pip install 'napari-covseg[pacs]'.",
    )
    parser.add_argument("--port", required=True, type=_port, metavar="N", help="port to listen on")
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for what comes")
    parser.add_argument(
        "--host",
        default=LOCAL,
        metavar="ADDRESS",
        help=f"address to listen on (default {LOCAL}: this computer only; 0.0.0.0: all)",
    )
    parser.add_argument(
        "--ae-title",
        metavar="TITLE",
        help="our AE title, by which senders must call (default COVSEG, any is taken)",
    )
    parser.add_argument(
        "--from", dest="callers", metavar="TITLE,...", help="take from these AE titles only"
    )
    parser.add_argument(
        "--idle",
        type=positive,
        metavar="SECONDS",
        help="end when nothing has come for so long (default: listen until Ctrl-C)",
    )
    parser.add_argument(
        "--max-mb",
        type=_megabytes,
        default=1024,
        metavar="N",
        help="largest object, and how much may be under way on all connections together "
        "(default 1024)",
    )
    add_tls(parser, "who signed the senders' certificates, which are then asked for (PEM)")
    parser.add_argument("--json", action="store_true", help="print what came as JSON only")
    parser.set_defaults(func=run)


def run(args: argparse.Namespace) -> int:
    """Listen until Ctrl-C, a request to terminate, or idle; then say what came."""
    from napari_covseg.io.dicom_peer import OUR_TITLE, ae_title
    from napari_covseg.workflows.receive import Received, ReceiveSettings, receive_into

    settings = ReceiveSettings(
        port=args.port,
        host=args.host,
        title=ae_title(args.ae_title or OUR_TITLE),
        only_title=args.ae_title is not None,
        callers=tuple(ae_title(one) for one in (args.callers or "").split(",") if one.strip()),
        tls=tls_of(args),
        idle_s=args.idle,
        object_mb=args.max_mb,
    )
    received = Received()
    steps = receive_into(Path(args.output), settings, received)
    former = signal.signal(signal.SIGTERM, _stop)
    announced = False
    try:
        for _ in steps:
            if not announced:
                announced = True
                _announce(settings.host, received.port, settings.title, encrypted=args.tls)
    except KeyboardInterrupt:
        # The usual end of a server, not a failure.
        pass
    finally:
        steps.close()
        signal.signal(signal.SIGTERM, former)
    if args.json:
        print_json(_as_json(received))
    else:
        _show(received, Path(args.output))
    return 0


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _announce(host: str, port: int, title: str, *, encrypted: bool) -> None:
    complain(f"listening as {title} on {host} port {port}; Ctrl-C ends it")
    if host not in (LOCAL, "::1", "localhost") and not encrypted:
        complain("warning: anyone on the network can send and read along; --tls encrypts")
    sys.stderr.flush()


def _as_json(received: Received) -> dict[str, Any]:
    return {
        "received": received.count,
        "refused": received.refused,
        "folders": dict(sorted(received.folders.items())),
    }


def _show(received: Received, folder: Path) -> None:
    for name, count in sorted(received.folders.items()):
        print(f"{folder / name}: {count}")
    print(f"{received.count} received, {received.refused} refused")


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value < 65536:
        raise argparse.ArgumentTypeError(f"expected a port from 0 (any) to 65535, got {text}")
    return value


def _megabytes(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected a number from 1, got {text}")
    return value
