"""What is remembered from one day to the next: choices, the last folder, how fast devices were."""

from __future__ import annotations

from dataclasses import asdict, fields

from qtpy.QtCore import QSettings

from napari_covseg.domain.errors import UsageError
from napari_covseg.workflows.segment_settings import SegmentSettings


def store() -> QSettings:
    """The user's settings file of this plugin."""
    return QSettings(
        QSettings.Format.IniFormat, QSettings.Scope.UserScope, "napari-covseg", "napari-covseg"
    )


def load_settings() -> SegmentSettings:
    """The settings of the last run, or the defaults where they no longer make sense."""
    kept = store()
    names = [field.name for field in fields(SegmentSettings)]
    values = {name: str(kept.value(f"segment/{name}", "")) for name in names}
    try:
        return SegmentSettings(**{name: value for name, value in values.items() if value})
    except UsageError:
        return SegmentSettings()


def save_settings(settings: SegmentSettings) -> None:
    """Remember the settings of a run."""
    kept = store()
    for name, value in asdict(settings).items():
        kept.setValue(f"segment/{name}", value)


def load_text(key: str, default: str = "") -> str:
    """A remembered text, such as the last folder."""
    return str(store().value(key, default))


def save_text(key: str, value: str) -> None:
    """Remember a text."""
    store().setValue(key, value)


def load_rate(device: str) -> float | None:
    """Seconds a million network pixels took on this device, if it was ever used."""
    try:
        rate = float(load_text(f"rates/{_key(device)}"))
    except ValueError:
        return None
    return rate if rate > 0 else None


def save_rate(device: str, seconds_per_megapixel: float) -> None:
    """Remember how fast a device was."""
    save_text(f"rates/{_key(device)}", f"{seconds_per_megapixel:.4f}")


def _key(device: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in device)
