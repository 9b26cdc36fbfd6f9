"""Grids of settings: which trainings a sweep is made of. Light: the command line's parser reads it.

A grid maps fields of `Preset` to values, all combinations of which are trained; a field that holds
arguments is reached into with a dot (``network_arguments.blocks``). Several grids come one after
another.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.training.schedules import Preset

Grid = Mapping[str, Sequence[Any]]

_EPOCHS = (100, 200, 300, 400, 500)


def _table_x(blocks: int, rule: str, rate: float) -> Grid:
    return {
        "network_arguments.blocks": (blocks,),
        "rate_rule": (rule,),
        "learning_rate": (rate,),
        "epochs": _EPOCHS,
    }


GRIDS: Mapping[str, tuple[Grid, ...]] = MappingProxyType(
    {
        "singh2022": (
            _table_x(4, "constant", 5e-4),
            _table_x(6, "constant", 1e-4),
            _table_x(6, "constant", 5e-4),
            _table_x(4, "cosine", 5e-5),
            _table_x(6, "cosine", 1e-5),
            _table_x(6, "cosine", 5e-5),
        )
    }
)
"""A preset's own: of ``singh2022`` the 30 rows of Table X of Singh & Krishna, in their order."""
_LISTS = {one.name for one in fields(Preset) if "tuple" in str(one.type)}
_MAPPINGS = {one.name for one in fields(Preset) if "Mapping" in str(one.type)}


def read_grid(settings: Iterable[str]) -> Grid:
    """A grid from ``FIELD=VALUE,VALUE,...``; values that hold commas are divided by semicolons.

    Raises
    ------
    UsageError
        If one has no values, or a field comes twice.
    """
    grid: dict[str, tuple[Any, ...]] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        if not equals or not name.strip() or not text.strip():
            raise UsageError(f"--grid {setting}: expected FIELD=VALUE,VALUE,...")
        if name in grid:
            raise UsageError(f"--grid {name} comes twice; put all its values into one")
        grid[name] = _values(name, text)
    return grid


def read_grid_file(path: Path) -> tuple[Grid, ...]:
    """The grids of a TOML or JSON file: a table of fields, or a list of such under ``grid``.

    Raises
    ------
    InputError
        If it cannot be read or holds something else.
    """
    expected = "expected fields with lists of values, or several such tables, each [[grid]]"
    try:
        text = path.read_text(encoding="utf-8")
        if path.suffix.lower() == ".json":
            content = json.loads(text)
        else:
            import tomllib

            content = tomllib.loads(text)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise InputError(f"{path.name}: no TOML or JSON ({str(error).splitlines()[0]})") from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: {expected}")
    tables = content["grid"] if set(content) == {"grid"} else [content]
    if not isinstance(tables, list) or not tables:
        raise InputError(f"{path.name}: {expected}")
    for one in tables:
        if not isinstance(one, dict) or not one or not all(_is_list(v) for v in one.values()):
            raise InputError(f"{path.name}: {expected}")
    return tuple(tables)


def expand(preset: Preset, grids: Sequence[Grid]) -> tuple[Preset, ...]:
    """Every combination of every grid on top of ``preset``, in order; the same one comes once.

    Raises
    ------
    UsageError
        If a field is not known or a value cannot be used.
    """
    rows: list[Preset] = []
    for grid in grids:
        for values in itertools.product(*grid.values()):
            row = preset
            for name, value in zip(grid, values, strict=True):
                row = with_value(row, name, value)
            if row not in rows:
                rows.append(row)
    return tuple(rows)


def with_value(preset: Preset, name: str, value: Any) -> Preset:
    """The preset with one field, or one argument (``FIELD.KEY``), changed.

    Raises
    ------
    UsageError
        If there is no such field, or the value cannot be used.
    """
    field, dot, key = name.partition(".")
    if not dot:
        return preset.with_settings([f"{name}={_text(value)}"])
    if field not in _MAPPINGS or not key:
        raise UsageError(f"{name}: expected FIELD.KEY, with FIELD one of {_listed(_MAPPINGS)}")
    changed: dict[str, Any] = {field: {**getattr(preset, field), key: value}}
    return replace(preset, **changed)


def _values(name: str, text: str) -> tuple[Any, ...]:
    if ";" in text:
        parts = tuple(part.strip() for part in text.split(";") if part.strip())
        return tuple(_plain(part) for part in parts) if "." in name else parts
    if "." in name:
        try:
            return tuple(json.loads(f"[{text}]"))
        except ValueError:
            return tuple(part.strip() for part in text.split(",") if part.strip())
    if name in _LISTS | _MAPPINGS:
        return (text,)
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _plain(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _text(value: Any) -> str:
    """As `Preset.with_settings` reads it."""
    if isinstance(value, Mapping):
        return json.dumps(value)
    return ",".join(map(str, value)) if _is_list(value) else str(value)


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
