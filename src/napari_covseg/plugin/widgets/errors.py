"""How a widget says what went wrong."""

from __future__ import annotations

from napari.utils.notifications import notification_manager

from napari_covseg.domain.errors import CovsegError
from napari_covseg.plugin.telling import show_error


def tell_error(error: Exception) -> None:
    """Show an error in the words of the command line; what is not ours with its traceback."""
    if isinstance(error, CovsegError):
        show_error(str(error))
    else:
        notification_manager.receive_error(type(error), error, error.__traceback__)
