"""Receive scans, segmentations and reports from a PACS or a scanner into a folder."""

from __future__ import annotations

from pathlib import Path

from napari_covseg.domain.progress import Steps
from napari_covseg.io.dicom_receive import Received, ReceiveSettings, receive
from napari_covseg.workflows.segment import make_folder

__all__ = ["ReceiveSettings", "Received", "receive_into"]


def receive_into(folder: Path, settings: ReceiveSettings, received: Received) -> Steps[Received]:
    """Listen, and write what comes into ``folder`` (made if need be); see `receive`.

    Raises
    ------
    UsageError
        If pynetdicom is not installed, or ``folder`` is a file.
    ResourceError
        If the folder cannot be written to.
    CovsegError
        If the port cannot be listened on.
    """
    make_folder(folder)
    return (yield from receive(folder, settings, received))
