"""What a wheel holds: told from made-up wheels, and from one that is really built."""

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("contents", ROOT / "tools" / "wheel_contents.py")
contents = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(contents)


def _wheel(tmp_path, *more, without=""):
    path = tmp_path / "napari_covseg-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in [*contents.MUST, "napari_covseg/io/read.py", *more]:
            if name != without:
                archive.writestr(name, "" if name.endswith("py.typed") else "x")
    return path


def test_a_good_wheel(tmp_path):
    assert contents.faults(_wheel(tmp_path, "napari_covseg-1.dist-info/METADATA")) == []


@pytest.mark.parametrize(
    "name",
    ["tests/test_a.py", "benchmarks/a.py", "napari_covseg/a.pyc", "napari_covseg/weights/a.pt"],
)
def test_what_does_not_belong_there(tmp_path, name):
    assert contents.faults(_wheel(tmp_path, name)) == [f"not ours: {name}"]


def test_what_is_missing(tmp_path):
    weights = "napari_covseg/models/weights/covseg-default.safetensors"
    assert contents.faults(_wheel(tmp_path, without=weights)) == [f"missing: {weights}"]


def test_too_large(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "LARGEST_MB", 0.0)
    assert contents.faults(_wheel(tmp_path))[0].endswith("MB, 0 MB at most")


@pytest.mark.slow
def test_the_wheel_that_is_built(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    ignored = shutil.ignore_patterns("*.egg-info", "__pycache__")
    shutil.copytree(ROOT / "src", source / "src", ignore=ignored)
    build = "from setuptools import build_meta; build_meta.build_wheel('dist')"
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=300
    )
    (wheel,) = (source / "dist").glob("*.whl")
    assert contents.faults(wheel) == []
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    written = {path.relative_to(ROOT / "src").as_posix() for path in (ROOT / "src").rglob("*.py")}
    assert packed == written
