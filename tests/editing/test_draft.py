"""Drafts come back as they were, and say what is wrong with them."""

import json

import numpy as np
import pytest

from napari_covseg.domain.errors import InputError
from napari_covseg.domain.geometry import Geometry
from napari_covseg.editing.draft import Draft, fingerprint, read_draft, write_draft


def test_a_draft_comes_back(tmp_path, lungs):
    reviewed = np.arange(12) % 3 == 0
    path = write_draft(tmp_path / "new" / "a.covseg-draft", Draft(lungs, lungs * 2, reviewed, 61.5))
    back = read_draft(path, lungs.shape)
    np.testing.assert_array_equal(back.lungs, lungs)
    np.testing.assert_array_equal(back.lesions, lungs * 2)
    np.testing.assert_array_equal(back.reviewed, reviewed)
    assert back.seconds == 61.5
    assert [p.name for p in path.parent.iterdir()] == ["a.covseg-draft"]
    write_draft(path, Draft(None, lungs, reviewed))
    assert read_draft(path, lungs.shape).lungs is None


def test_a_killed_write_leaves_the_older_draft(tmp_path, lungs, monkeypatch):
    path = tmp_path / "a.covseg-draft"
    write_draft(path, Draft(lungs, None, np.zeros(12, bool)))
    held = path.read_bytes()

    def killed(file, **_):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", killed)
    with pytest.raises(KeyboardInterrupt):
        write_draft(path, Draft(lungs, lungs, np.ones(12, bool)))
    assert path.read_bytes() == held


def test_what_cannot_be_read_is_said(tmp_path, lungs):
    path = tmp_path / "a.covseg-draft"
    with pytest.raises(InputError, match="cannot be read"):
        read_draft(path, lungs.shape)
    write_draft(path, Draft(lungs, None, np.zeros(12, bool)))
    with pytest.raises(InputError, match="of another CT"):
        read_draft(path, (13, 40, 60))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="cannot be read"):
        read_draft(path, lungs.shape)
    with path.open("wb") as file:
        np.savez(file, header=np.array(json.dumps({"version": 2, "seconds": 0})))
    with pytest.raises(InputError, match="of version 2, expected 1"):
        read_draft(path, lungs.shape)


def test_a_fingerprint_knows_its_ct(hu):
    geometry = Geometry.from_spacing(hu.shape, (5.0, 1.0, 1.0))
    name = fingerprint(hu, geometry)
    assert name == fingerprint(hu.copy(), geometry)
    other = hu.copy()
    other[4, 8, 8] += 1
    assert fingerprint(other, geometry) != name
    assert fingerprint(hu, Geometry.from_spacing(hu.shape, (5.0, 1.0, 1.1))) != name
