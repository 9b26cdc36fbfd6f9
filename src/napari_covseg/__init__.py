"""napari-covseg: lungs, ground-glass opacity and consolidation in chest CT. Research use only."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-covseg")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
