"""Options of the verbs that speak DICOM over a network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from napari_covseg.domain.errors import UsageError

if TYPE_CHECKING:
    from napari_covseg.io.dicom_peer import TlsFiles


def add_tls(parser: argparse.ArgumentParser, authority: str) -> None:
    """The options of a TLS connection; ``authority`` says what ``--tls-ca`` is for."""
    parser.add_argument("--tls", action="store_true", help="encrypt the connection with TLS")
    parser.add_argument("--tls-cert", metavar="FILE", help="our certificate (PEM)")
    parser.add_argument("--tls-key", metavar="FILE", help="the key of our certificate (PEM)")
    parser.add_argument("--tls-ca", metavar="FILE", help=authority)


def tls_of(args: argparse.Namespace) -> TlsFiles | None:
    """The files of a TLS connection; None where none is asked for.

    Raises
    ------
    UsageError
        If files are named without ``--tls``: nothing is sent in the clear by a slip.
    """
    from napari_covseg.io.dicom_peer import TlsFiles

    named = (args.tls_cert, args.tls_key, args.tls_ca)
    if not args.tls:
        if any(named):
            raise UsageError("--tls-cert, --tls-key and --tls-ca need --tls")
        return None
    certificate, key, authority = (Path(text) if text else None for text in named)
    return TlsFiles(certificate, key, authority)


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text}")
    return value
