"""What is tested at its lower bound is what setup.cfg says."""

import importlib.util
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("lowest", ROOT / "tools" / "lowest.py")
lowest = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(lowest)

SETUP = """
[options]
install_requires =
    SimpleITK>=2.3
    highdicom>=0.24
[options.extras_require]
all =
    napari[pyside6]>=0.6.3
    PySide6>=6.7,!=6.12.0; python_version < "3.12"
dev =
    %(all)s
    loose
"""


def test_bounds_of_requirements_and_extras():
    assert lowest.bounds(SETUP) == {
        "simpleitk": "2.3",
        "highdicom": "0.24",
        "napari": "0.6.3",
        "pyside6": "6.7",
        "loose": "",
    }


def test_everything_is_held_at_its_bound():
    held = lowest.constraints({"simpleitk": "2.3", "python-gdcm": "3.0.24"})
    assert held == "simpleitk==2.3.*\npython-gdcm==3.0.24.*\n"


def test_every_requirement_of_ours_has_a_bound():
    named = lowest.bounds((ROOT / "setup.cfg").read_text(encoding="utf-8"))
    assert [name for name, bound in named.items() if not bound] == []
