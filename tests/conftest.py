"""Fixtures shared by all tests, and how the tests are shared out to several processes."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

_XVFB = pytest.StashKey[subprocess.Popen[bytes]]()
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


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


@pytest.fixture(scope="session")
def _napari_for_tests() -> Iterator[None]:
    """Plugins are looked for once, not by every viewer; nobody's own settings are reset."""
    from napari import settings
    from npe2 import PluginManifest

    discover, found = PluginManifest.discover, []

    def once(paths: Sequence[str | Path] = ()) -> Iterator[object]:
        if paths:
            return discover(paths)
        found.extend([] if found else discover())
        return iter(found)

    settings._SETTINGS = None
    settings.get_settings(path=None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", once)
        yield


@pytest.fixture(scope="module", autouse=True)
def _freed_after_a_module() -> None:
    """Let go of what `_before_a_viewer` kept."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def _before_a_viewer(request: pytest.FixtureRequest, _freed_after_a_module: None) -> None:
    """Spare the garbage collector what was there before a test with a viewer.

    napari collects garbage whenever layers go. Going through all objects of PyTorch and napari each
    time took most of the time of such a test.
    """
    if "qtbot" in request.fixturenames:
        request.getfixturevalue("_napari_for_tests")
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with a viewer last; name tests on real data in the JUnit report for CI.

    Training loads Triton through PyTorch's compiler. Triton and Mesa's software OpenGL each bring
    an LLVM, and the process ends with a segmentation fault if Triton's is loaded second.
    """
    with_viewer = {one.path for one in items if "qtbot" in getattr(one, "fixturenames", ())}
    items.sort(key=lambda item: item.path in with_viewer)
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real_data)
        if item.get_closest_marker("real_data"):
            item.user_properties.append(("real_data", "true"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Hand out whole files, and in order: those with a viewer are last in every process."""
    from xdist.scheduler import LoadFileScheduling

    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


def pytest_configure(config: pytest.Config) -> None:
    """Processes that run tests side by side share the cores, but neither screen nor clipboard."""
    workers = getattr(config.option, "numprocesses", None)
    if workers:
        for name in _THREADS:
            os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))
    if os.environ.get("PYTEST_XDIST_WORKER", "gw0") != "gw0":
        _open_screen(config)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Close the screen that was opened for this process."""
    xvfb = config.stash.get(_XVFB, None)
    if xvfb is not None:
        xvfb.terminate()
        xvfb.wait()


def _open_screen(config: pytest.Config) -> None:
    """Give this process an X server of its own, where one is used and there is Xvfb."""
    found = shutil.which("Xvfb")
    on_x11 = "DISPLAY" in os.environ and "QT_QPA_PLATFORM" not in os.environ
    if found is None or not on_x11 or not sys.platform.startswith("linux"):
        return
    told, tell = os.pipe()
    command = [found, "-displayfd", str(tell), "-screen", "0", "1400x900x24", "-nolisten", "tcp"]
    config.stash[_XVFB] = subprocess.Popen(command, pass_fds=[tell], stderr=subprocess.DEVNULL)
    os.close(tell)
    with os.fdopen(told) as lines:
        number = lines.readline().strip()
    if number:
        os.environ |= {"DISPLAY": f":{number}", "QT_QPA_PLATFORM": "xcb"}
