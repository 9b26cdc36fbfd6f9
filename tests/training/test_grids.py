import json
from pathlib import Path

import pytest

from napari_covseg.domain.errors import InputError, UsageError
from napari_covseg.models.networks import build
from napari_covseg.training.grids import GRIDS, expand, read_grid, read_grid_file, with_value
from napari_covseg.training.schedules import PRESETS, Preset

FAST = PRESETS["fast"]


def test_singh_and_krishnas_grid_is_table_x() -> None:
    rows = expand(PRESETS["singh2022"], GRIDS["singh2022"])
    said = [(r.network_arguments["blocks"], r.epochs, r.rate_rule, r.learning_rate) for r in rows]
    table = [
        (blocks, epochs, rule, rate)
        for blocks, rule, rate in (
            (4, "constant", 5e-4),
            (6, "constant", 1e-4),
            (6, "constant", 5e-4),
            (4, "cosine", 5e-5),
            (6, "cosine", 1e-5),
            (6, "cosine", 5e-5),
        )
        for epochs in (100, 200, 300, 400, 500)
    ]
    assert said == table
    assert len(rows) == 30
    assert PRESETS["singh2022"] in rows
    assert {row.batch for row in rows} == {64}


def test_all_combinations_in_order_each_once() -> None:
    grid = read_grid(["learning_rate=1e-5,5e-5", "network_arguments.blocks=4,6"])
    rows = expand(FAST, [grid, {"learning_rate": [5e-5], "network_arguments.blocks": [6]}])
    assert [(r.learning_rate, r.network_arguments["blocks"]) for r in rows] == [
        *((1e-5, 4), (1e-5, 6), (5e-5, 4), (5e-5, 6)),
    ]
    assert {row.batch for row in rows} == {FAST.batch}


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("patch=192,192;224,224", [(192, 192), (224, 224)]),
        ("patch=192,192", [(192, 192)]),
        ("loss=dice_ce, boundary", ["dice_ce", "boundary"]),
        ("pretrained=true,false", [True, False]),
        ('network_arguments={"blocks":4};{"blocks":6}', [{"blocks": 4}, {"blocks": 6}]),
        ("network_arguments.encoder=resnet50,res2net50", ["resnet50", "res2net50"]),
        ("network_arguments.attention=true,false", [True, False]),
        ("network_arguments.channels=[8,16],[16,32]", [[8, 16], [16, 32]]),
        ("network_arguments.channels=[8,16];[16,32]", [[8, 16], [16, 32]]),
    ],
)
def test_values_are_read_as_the_field_holds_them(text: str, values: list[object]) -> None:
    name = text.partition("=")[0]
    rows = expand(FAST, [read_grid([text])])
    field, _, key = name.partition(".")
    found = [getattr(row, field)[key] if key else getattr(row, field) for row in rows]
    assert found == values


def test_an_argument_leaves_the_others() -> None:
    given = with_value(FAST.with_settings(['network_arguments={"width":4}']), "loss", "boundary")
    row = with_value(given, "network_arguments.blocks", 6)
    assert row.network_arguments == {"width": 4, "blocks": 6}
    build("attention_unet2d", **row.network_arguments)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["learning_rate"], "expected FIELD=VALUE,VALUE"),
        (["learning_rate="], "expected FIELD=VALUE,VALUE"),
        (["batch=1", "batch=2"], "--grid batch comes twice"),
        (["learning_rates=1,2"], "expected FIELD=VALUE, with FIELD one of"),
        (["batch=0"], "batch=0: expected more than 0"),
        (["batch=much"], "'much' is not a value for batch"),
        (["batch.size=1"], "batch.size: expected FIELD.KEY, with FIELD one of dataset_weights"),
    ],
)
def test_what_cannot_be_varied_is_refused(settings: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        expand(FAST, [read_grid(settings)])


def test_files_hold_one_grid_or_several(tmp_path: Path) -> None:
    one = tmp_path / "one.toml"
    one.write_text('learning_rate = [1e-5, 5e-5]\n"network_arguments.blocks" = [4]\n')
    rows = expand(FAST, read_grid_file(one))
    assert [row.learning_rate for row in rows] == [1e-5, 5e-5]
    two = tmp_path / "two.toml"
    two.write_text("[[grid]]\npatch = [[64, 64], [96, 96]]\n[[grid]]\nbatch = [2]\n")
    rows = expand(FAST, read_grid_file(two))
    assert [(row.patch, row.batch) for row in rows] == [
        *(((64, 64), 8), ((96, 96), 8), (FAST.patch, 2)),
    ]
    same = tmp_path / "same.json"
    same.write_text(json.dumps({"grid": [{"patch": [[64, 64], [96, 96]]}, {"batch": [2]}]}))
    assert expand(FAST, read_grid_file(same)) == rows
    assert isinstance(rows[0], Preset)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.toml", "learning_rate = ", "no TOML or JSON"),
        ("a.json", "{", "no TOML or JSON"),
        ("a.json", "[1]", "expected fields with lists"),
        ("a.json", '{"grid": []}', "expected fields with lists"),
        ("a.toml", "batch = 2", "expected fields with lists"),
        ("a.toml", "", "expected fields with lists"),
    ],
)
def test_files_that_hold_something_else_are_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=f"{name}: .*{message}"):
        read_grid_file(path)
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_grid_file(tmp_path / "none.toml")
