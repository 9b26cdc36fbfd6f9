"""The layers hold, and starting is cheap: nothing heavy is imported before it is needed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
GUI = ("napari", "qtpy", "magicgui", "superqt", "PySide6", "PySide2", "PyQt6", "PyQt5", "vispy")
ROOMS_WITHOUT_TORCH = (
    *("domain", "io", "preprocess", "metrics", "quantify", "editing", "cases", "reports"),
)

IMPORT_ALL = """
import importlib, pkgutil, sys
import napari_covseg
rooms = sys.argv[1].split(",")
count = 0
for found in pkgutil.walk_packages(napari_covseg.__path__, "napari_covseg."):
    room = found.name.split(".")[1]
    if room in rooms and not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        count += 1
assert count >= len(rooms), count
"""

REPORT = """
import sys
print("LOADED", *[name for name in sys.argv[-1].split(",") if name in sys.modules])
"""


def _loaded(code: str, watched: tuple[str, ...], *arguments: str) -> set[str]:
    """Which of the watched modules are loaded after ``code`` ran in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", code + REPORT, *arguments, ",".join(watched)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("LOADED", 1)[1].split())


def _rooms() -> tuple[str, ...]:
    package = ROOT / "src" / "napari_covseg"
    return tuple(sorted(p.name for p in package.iterdir() if (p / "__init__.py").is_file()))


def test_a_loaded_module_is_noticed() -> None:
    assert _loaded("import json", ("json", "torch")) == {"json"}


def test_import_rules() -> None:
    code = (
        "from importlinter.cli import lint_imports\n"
        "raise SystemExit(lint_imports(config_filename='pyproject.toml', no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_gui_toolkit_outside_the_plugin() -> None:
    rooms = tuple(room for room in _rooms() if room != "plugin")
    assert len(rooms) >= 10
    assert _loaded(IMPORT_ALL, GUI, ",".join(rooms)) == set()


def test_no_torch_in_the_light_rooms() -> None:
    assert _loaded(IMPORT_ALL, ("torch",), ",".join(ROOMS_WITHOUT_TORCH)) == set()


def test_importing_the_package_loads_nothing_heavy() -> None:
    heavy = ("numpy", "torch", "scipy", "pydicom", *GUI)
    assert _loaded("import napari_covseg", heavy) == set()


def test_importing_readers_loads_no_reader() -> None:
    heavy = ("torch", "scipy", "pydicom", "nibabel", "SimpleITK", "highdicom", *GUI)
    assert _loaded("import napari_covseg.io", heavy) == set()


def test_reading_the_manifest_loads_nothing_of_ours() -> None:
    code = (
        "from npe2 import PluginManifest\n"
        "manifest = PluginManifest.from_distribution('napari-covseg')\n"
        "assert manifest.contributions.widgets, 'no widgets'\n"
    )
    assert _loaded(code, ("torch", "napari", "qtpy", "napari_covseg.plugin")) == set()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["segment", "--help"]])
def test_help_is_cheap(arguments: list[str]) -> None:
    code = (
        "from napari_covseg.cli.main import main\n"
        "try:\n"
        f"    status = main({arguments})\n"
        "except SystemExit as stop:\n"
        "    status = stop.code\n"
        "assert not status, status\n"
    )
    heavy = ("torch", "scipy", "pydicom", "nibabel", "SimpleITK", "matplotlib", *GUI)
    assert _loaded(code, heavy) == set()


def test_manifest_at_the_root_is_the_packages() -> None:
    at_root = ROOT / "napari.yaml"
    if os.name == "nt" and not at_root.is_symlink():
        pytest.skip("this checkout has no symbolic links")
    in_package = ROOT / "src" / "napari_covseg" / "napari.yaml"
    assert at_root.is_symlink()
    assert at_root.resolve() == in_package.resolve()
    assert at_root.read_bytes() == in_package.read_bytes()
