"""Fail where the development data is at hand but the tests that need it did not run.

Usage: ``python tools/check_real_data.py JUNIT.xml``; needs the standard library only.
"""

import os
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path


def data_folder() -> Path | None:
    """Where the tests look for the development data; None where it is not."""
    root = Path(__file__).resolve().parents[1]
    folder = Path(os.environ.get("COVSEG_DATA") or root.parent / "shared" / "data")
    return folder if folder.is_dir() else None


def outcomes(junit: Path) -> tuple[int, list[str]]:
    """How many real-data tests passed, and the names of those that found no data."""
    passed, skipped = 0, []
    for case in ElementTree.parse(junit).iter("testcase"):
        if case.find("properties/property[@name='real_data']") is None:
            continue
        skip = case.find("skipped")
        if skip is not None and "development data" in (skip.get("message") or ""):
            skipped.append(f"{case.get('classname')}::{case.get('name')}")
        elif skip is None and case.find("failure") is None and case.find("error") is None:
            passed += 1
    return passed, skipped


def main() -> int:
    """The process's exit status."""
    folder = data_folder()
    if folder is None:
        print("No development data here: its tests were skipped.")
        return 0
    passed, skipped = outcomes(Path(sys.argv[1]))
    for name in skipped:
        print(f"skipped although the data is there: {name}")
    print(f"Real-data tests: {passed} passed, {len(skipped)} skipped.")
    return int(passed == 0 or bool(skipped))


if __name__ == "__main__":
    sys.exit(main())
