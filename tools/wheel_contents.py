"""What a wheel must and must not hold: ``python tools/wheel_contents.py FILE.whl``."""

import re
import sys
import zipfile
from pathlib import Path

LARGEST_MB = 12.0
MARKER = "napari_covseg/py.typed"
MUST = (
    "napari_covseg/napari.yaml",
    MARKER,
    "napari_covseg/models/weights/LICENSE",
    "napari_covseg/models/weights/covseg-default.json",
    "napari_covseg/models/weights/covseg-default.md",
    "napari_covseg/models/weights/covseg-default.safetensors",
    "napari_covseg/models/weights/classify/covseg-classify.json",
    "napari_covseg/models/weights/classify/covseg-classify.md",
    "napari_covseg/models/weights/classify/covseg-classify.safetensors",
)
MAY = re.compile(
    r"napari_covseg/(\w+/)*\w+\.py"
    r"|napari_covseg-[^/]+\.dist-info/[A-Za-z_]+(\.txt)?"
    r"|napari_covseg-[^/]+\.dist-info/licenses/.*LICENSE"
)


def faults(wheel: Path) -> list[str]:
    """One line for each file that is missing, is empty or does not belong there; for the size."""
    with zipfile.ZipFile(wheel) as archive:
        sizes = {info.filename: info.file_size for info in archive.infolist()}
    lines = [f"missing: {name}" for name in MUST if name not in sizes]
    lines += [
        f"empty: {name}" for name in MUST if sizes.get(name) == 0 and not name.endswith("py.typed")
    ]
    lines += [f"not ours: {name}" for name in sizes if name not in MUST and not MAY.fullmatch(name)]
    size = wheel.stat().st_size / 1e6
    if size > LARGEST_MB:
        lines.append(f"{size:.1f} MB, {LARGEST_MB:.0f} MB at most")
    return lines


def main() -> int:
    """The process's exit status."""
    wheel = Path(sys.argv[1])
    found = faults(wheel)
    print("\n".join(found) or f"{wheel.name}: holds what it should and nothing else.")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
