"""The page on training lists every setting with its value in each preset."""

from dataclasses import fields
from pathlib import Path

from napari_covseg.training.schedules import PRESETS, Preset, settings_help

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "train.md"


def test_every_setting_is_on_the_page() -> None:
    rows = [
        [cell.strip() for cell in line.strip("| ").split(" | ")]
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| `")
    ]
    table = {row[0].strip("`"): row[1:] for row in rows}
    help_lines = settings_help().splitlines()
    names = [one.name for one in fields(Preset) if one.name != "name"]
    assert len(help_lines) == len(names)
    for name, line in zip(names, help_lines, strict=True):
        meaning, *values = table[name]
        shown = ", ".join(f"{key} {value}" for key, value in zip(PRESETS, values, strict=True))
        shown = values[0] if len(set(values)) == 1 else shown
        assert line == f"  {name}: {meaning} ({shown})"
