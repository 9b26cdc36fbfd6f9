"""Notices in napari's corner, whose labels take what looks like HTML for HTML."""

from __future__ import annotations

from napari.utils import notifications

from napari_covseg.plugin.plain import plain


def show_error(text: str) -> None:
    """Say what went wrong."""
    notifications.show_error(plain(text))


def show_warning(text: str) -> None:
    """Say what to look at."""
    notifications.show_warning(plain(text))


def show_info(text: str) -> None:
    """Say what was done."""
    notifications.show_info(plain(text))
