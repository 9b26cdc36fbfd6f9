"""A folder is synced where that can be done."""

import os
from types import SimpleNamespace

import pytest

from napari_covseg.cases import files


def system(name, calls):
    """Only what `sync_folder` uses of `os`, and what it called."""

    def opened(folder, flags):
        if name == "nt":
            raise PermissionError(13, "Permission denied")
        calls.append("open")
        return os.open(folder, flags)

    def synced(handle):
        calls.append("fsync")
        raise OSError(22, "Invalid argument")  # as some shares do

    return SimpleNamespace(
        name=name, O_RDONLY=os.O_RDONLY, open=opened, fsync=synced, close=os.close
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nt", []),
        pytest.param(
            "posix",
            ["open", "fsync"],
            marks=pytest.mark.skipif(os.name == "nt", reason="folders cannot be opened there"),
        ),
    ],
)
def test_windows_opens_no_folder(tmp_path, monkeypatch, name, expected):
    calls = []
    monkeypatch.setattr(files, "os", system(name, calls))
    files.sync_folder(tmp_path)
    assert calls == expected
