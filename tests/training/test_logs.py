import sys

import pytest

from napari_covseg.domain.errors import ResourceError
from napari_covseg.training.logs import NO_TENSORBOARD, TrainingLog, read_rows


def step_row(step):
    return {"step": step, "epoch": 1, "loss": step / 3, "learning_rate": 0.1, "gradient_norm": 1.0}


def test_rows_after_the_state_are_taken_back(tmp_path):
    log = TrainingLog(tmp_path, 0, 0, tensorboard=False)
    for step in (1, 2, 3):
        log.step(step_row(step))
    log.epoch({"epoch": 1, "step": 3, "loss": 0.5, "dice_lung": None})
    log.close()
    with (tmp_path / "steps.csv").open("a") as file:
        file.write("4,1,0.2")  # cut off by a kill
    TrainingLog(tmp_path, 2, 0, tensorboard=False).close()
    rows = read_rows(tmp_path / "steps.csv")
    assert [(row["step"], float(row["loss"])) for row in rows] == [("1", 1 / 3), ("2", 2 / 3)]
    assert read_rows(tmp_path / "epochs.csv") == []


def test_figures_that_are_not_there_stay_empty(tmp_path):
    log = TrainingLog(tmp_path, 0, 0, tensorboard=False)
    log.epoch({"epoch": 1, "step": 3, "loss": 0.5, "dice_lung": None, "dice_ggo": 0.25})
    log.close()
    (row,) = read_rows(tmp_path / "epochs.csv")
    assert (row["dice_lung"], row["dice_ggo"], row["gpu_percent"]) == ("", "0.25", "")


def test_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = TrainingLog(tmp_path, 0, 0)
    log.step(step_row(1))
    log.step(step_row(2))
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload().Scalars("step/loss")
    assert [(e.step, e.value) for e in events] == [
        (1, pytest.approx(1 / 3)),
        (2, pytest.approx(2 / 3)),
    ]


def test_without_tensorboard_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    log = TrainingLog(tmp_path, 0, 0)
    log.step(step_row(1))
    log.close()
    assert log.notes == (NO_TENSORBOARD,)


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="logs: the folder cannot be made"):
        TrainingLog(tmp_path / "file" / "logs", 0, 0)
