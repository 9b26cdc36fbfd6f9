import os
import re
import subprocess
import sys

import pytest

from napari_covseg import __version__
from napari_covseg.cli.main import VERBS as MODULES
from napari_covseg.cli.main import main
from napari_covseg.cli.output import exit_code, format_ml, format_percent, one_line, volumes_table
from napari_covseg.domain.errors import Cancelled, InputError, ModelError, ResourceError, UsageError
from napari_covseg.quantify.volumes import Measurements, SideMeasurements

HEAVY = {
    *("numpy", "torch", "scipy", "matplotlib", "pydicom", "napari", "rich", "sqlalchemy", "pandas"),
    *("sklearn", "SimpleITK", "nibabel", "PIL", "reportlab", "skimage", "importlib.metadata"),
}
VERBS = tuple(name.replace("_", "-") for name in MODULES)


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_help_names_every_verb(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"\n    {verb}\s", out)


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_has_help(verb, capsys):
    with pytest.raises(SystemExit) as stopped:
        main([verb, "--help"])
    assert stopped.value.code == 0
    assert f"usage: covseg {verb}" in capsys.readouterr().out


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"covseg {__version__}\n"


@pytest.mark.parametrize(
    ("words", "files"),
    [
        (["--help"], set(MODULES)),
        (["segment", "--help"], {"segment"}),
        (["classify-train", "--help"], {"classify_train"}),
        (["info", "--json", "--no-such"], {"info"}),
    ],
)
def test_help_loads_nothing_heavy_and_no_other_verb(words, files):
    code = (
        "import sys\n"
        "from contextlib import suppress\n"
        "from napari_covseg.cli.main import VERBS, main\n"
        "with suppress(SystemExit):\n"
        f"    main({words!r})\n"
        "loaded = set(sys.modules)\n"
        f"heavy = {HEAVY!r}\n"
        "verbs = {one for one in VERBS if f'napari_covseg.cli.{one}' in loaded}\n"
        "print('LOADED', sorted(heavy & loaded), sorted(verbs))\n"
    )
    said = python(code).stdout.strip().splitlines()[-1]
    assert said == f"LOADED [] {sorted(files)}"


def test_an_unknown_verb_is_told_all_verbs(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["segmnt"])
    assert stopped.value.code == 2
    told = capsys.readouterr().err
    assert "segmnt" in told
    assert all(verb in told for verb in VERBS)


def test_closed_pipe_is_quiet():
    code = "from napari_covseg.cli.main import main; import sys; sys.exit(main(['info', '--json']))"
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as pipe:
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=pipe,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("x"), 2),
        (InputError("x"), 3),
        (ResourceError("x"), 4),
        (MemoryError(), 4),
        (OSError(28, "No space left on device"), 4),
        (ModelError("x"), 5),
        (Cancelled("x"), 130),
        (KeyboardInterrupt(), 130),
        (ValueError("x"), 1),
    ],
)
def test_exit_codes(error, code):
    assert exit_code(error) == code


def test_errors_are_one_line():
    assert one_line(InputError("a.nii: broken\n  twice")) == "a.nii: broken twice"


def test_numbers_are_shown_as_on_the_screen():
    assert [format_ml(v) for v in (0.0, 0.04, 9.94, 9.96, 123.5)] == [
        "0.0",
        "0.0",
        "9.9",
        "10",
        "124",
    ]
    assert [format_percent(v) for v in (None, 0.0, 12.34)] == ["–", "0.0", "12.3"]


def test_table_is_aligned():
    side = SideMeasurements(2000.0, 100.0, 5.0, 105.0, 5.0, 0.25, 5.25)
    none = SideMeasurements(0.0, 0.0, 0.0, 0.0, None, None, None)
    lines = volumes_table(Measurements(none, side, side, 3, 0.001)).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1].split() == ["Right", "2000", "100", "5.0", "5.0", "0.2", "105", "5.2"]
    assert lines[2].split() == ["Left", "0.0", "0.0", "–", "0.0", "–", "0.0", "–"]
