"""napari-covseg: lungs, ground-glass opacity and consolidation in chest CT. Research use only."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
else:

    def __getattr__(name: str) -> str:
        # Looked up when asked for: napari and `covseg --help` start without importlib.metadata.
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        try:
            found = version("napari-covseg")
        except PackageNotFoundError:  # run from a source tree that was never installed
            found = "0+unknown"
        globals()[name] = found
        return found
