"""Settings of trainings: fields with what they mean, read from ``FIELD=VALUE``. Light to import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from typing import Any

from napari_covseg.domain.errors import UsageError


def setting(value: Any, text: str) -> Any:
    """A field of a dataclass with its value and what it means."""
    return field(default=value, metadata={"help": text})


def read_settings(
    settings: Iterable[str], readers: Mapping[str, Callable[[str], Any]]
) -> dict[str, Any]:
    """Values of ``FIELD=VALUE``, each read by its field's reader (`readers_of`).

    Raises
    ------
    UsageError
        If there is no such field or its value cannot be read.
    """
    changes: dict[str, Any] = {}
    for one in settings:
        name, equals, text = one.partition("=")
        if not equals or name not in readers:
            known = ", ".join(readers)
            raise UsageError(f"{one!r}: expected FIELD=VALUE, with FIELD one of {known}")
        try:
            changes[name] = readers[name](text.strip())
        except ValueError:
            raise UsageError(f"{one}: {text!r} is not a value for {name}") from None
    return changes


def readers_of(preset: type, *, without: Iterable[str] = ()) -> dict[str, Callable[[str], Any]]:
    """How the text of each field of a dataclass is read, by the type it is annotated with."""
    named = (one for one in fields(preset) if one.name not in without)
    return {one.name: _BY_TYPE[str(one.type)] for one in named}


def help_of(presets: Mapping[str, Any]) -> str:
    """A line for each field but the name: what it means, its value, or that in each preset."""
    lines = []
    for one in fields(next(iter(presets.values()))):
        if one.name != "name":
            values = {key: _value(getattr(preset, one.name)) for key, preset in presets.items()}
            shown = ", ".join(f"{key} {value}" for key, value in values.items())
            if len(set(values.values())) == 1:
                shown = next(iter(values.values()))
            lines.append(f"  {one.name}: {one.metadata['help']} ({shown})")
    return "\n".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(str(one) for one in value) or "empty"
    if isinstance(value, Mapping) and value:
        return json.dumps(value)
    return str(value) if value not in ({}, "") else "empty"


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false", "yes", "no", "1", "0"):
        raise ValueError(text)
    return text.lower() in ("true", "yes", "1")


def _truth_or_file(text: str) -> bool | str:
    try:
        return _truth(text)
    except ValueError:
        if not text:
            raise
        return text


def _json_object(text: str) -> dict[str, Any]:
    content = json.loads(text or "{}")
    if not isinstance(content, dict):
        raise ValueError(text)
    return content


def _weights(text: str) -> dict[str, float]:
    pairs = (part.rpartition(":") for part in text.split(",") if part)
    return {name.strip(): float(weight) for name, _, weight in pairs}


def _list(read: Callable[[str], Any]) -> Callable[[str], tuple[Any, ...]]:
    return lambda text: tuple(read(part) for part in text.split(",") if part.strip())


_BY_TYPE: Mapping[str, Callable[[str], Any]] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": _truth,
    "bool | str": _truth_or_file,
    "tuple[int, ...]": _list(int),
    "tuple[float, ...]": _list(float),
    "tuple[int, int]": _list(int),
    "Mapping[str, Any]": _json_object,
    "Mapping[str, float]": _weights,
}
