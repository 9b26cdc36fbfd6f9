import numpy as np
import pytest
import torch

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.training.state import check_same, read_state, write_state


def test_it_comes_back_as_it_was(tmp_path):
    random = np.random.default_rng(3).bit_generator.state
    content = {"tensor": torch.arange(5) / 3, "random": random, "text": None, "sums": [1, 0.1]}
    write_state(tmp_path / "deep" / "a.state", content)
    found = read_state(tmp_path / "deep" / "a.state")
    assert torch.equal(found.pop("tensor"), content.pop("tensor"))
    assert found == content


def test_it_holds_no_code(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (print, ("this ran",))

    write_state(tmp_path / "a.state", {"x": Evil()})
    with pytest.raises(InputError, match=r"a\.state: holds no training state"):
        read_state(tmp_path / "a.state")
    assert capsys.readouterr().out == ""


def test_what_cannot_be_read_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.state: cannot be read"):
        read_state(tmp_path / "a.state")


def test_every_difference_is_named():
    check_same({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]})
    check_same({"a": 1, "b": 2}, {"a": 1, "b": 3}, changeable=("b",))
    with pytest.raises(UsageError, match=r"a was 1, is 2; c was None, is x; d\.e was 1, is 2\. "):
        check_same({"a": 1, "d": {"e": 1}}, {"a": 2, "c": "x", "d": {"e": 2}})
