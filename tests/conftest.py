"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest


def _data_dir() -> Path | None:
    named = os.environ.get("COVSEG_DATA")
    folder = Path(named) if named else Path(__file__).resolve().parents[2] / "shared" / "data"
    return folder if (folder / "README.md").is_file() else None


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The development data; the test is skipped where it is not."""
    folder = _data_dir()
    if folder is None:
        pytest.skip("development data not found: set COVSEG_DATA to its folder")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests with a viewer last; name those on real data in the JUnit report for CI.

    Training loads Triton through PyTorch's compiler. Triton and Mesa's software OpenGL each bring
    an LLVM, and the process ends with a segmentation fault if Triton's is loaded second.
    """
    items.sort(key=lambda item: "plugin" in item.path.parts)
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
        if item.get_closest_marker("real_data"):
            item.user_properties.append(("real_data", "true"))
