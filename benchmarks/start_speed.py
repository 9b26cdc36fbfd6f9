"""How soon the command answers and napari is there, with this plugin and without, in turns.

    python -m benchmarks.start_speed [--times N]

Everything starts in a process of its own, files in the page cache; each figure is the best of N.
Processor seconds are those of the whole process; a panel's are those of the window's thread, which
nothing else can use meanwhile.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec

from benchmarks.common import Row, run_child

PANELS = (
    *("Segment", "Correct", "Quantify", "Compare", "Dataset", "Review", "Retrain", "Detect"),
    *("Classify", "Report"),
)
COMMAND = ("-c", "from napari_covseg.cli.main import main; main()")
CHILD = ("-m", "benchmarks.start_child")
HELP_S, MORE = 0.3, 1.1
"""``covseg --help`` in wall seconds; napari with the plugin, times napari without it."""


@dataclass(frozen=True)
class Start:
    """Seconds of the best start: of the processor, and by the clock."""

    cpu_s: float
    wall_s: float

    def __str__(self) -> str:
        return f"{self.cpu_s:.2f} s of processor, {self.wall_s:.2f} s"


def starts(times: int, commands: dict[str, tuple[str, ...]]) -> dict[str, Start]:
    """The best of each command's starts, all in turns, so that a busy moment meets all alike."""
    found: dict[str, list[Start]] = {name: [] for name in commands}
    for _ in range(times):
        for name, arguments in commands.items():
            before = os.times()
            wall_s = run_child(*arguments).wall_s
            after = os.times()
            cpu_s = after.children_user + after.children_system
            cpu_s -= before.children_user + before.children_system
            found[name].append(Start(cpu_s, wall_s))
    return {
        name: Start(min(one.cpu_s for one in runs), min(one.wall_s for one in runs))
        for name, runs in found.items()
    }


def command_rows(times: int) -> list[Row]:
    """The command line and the package, beside Python itself and a peer's command."""
    commands = {
        "Python alone": ("-c", "pass"),
        "`import napari_covseg`": ("-c", "import napari_covseg"),
        "`covseg --version`": (*COMMAND, "--version"),
        "`covseg segment --help`": (*COMMAND, "segment", "--help"),
        "`covseg --help`": (*COMMAND, "--help"),
    }
    if find_spec("lungmask"):
        commands["`lungmask --help`"] = ("-m", "lungmask", "--help")
    found = starts(times, commands)
    rows = []
    for name, start in found.items():
        aim = name.startswith("`covseg")
        rows.append(
            Row(f"start: {name}", str(start), f"< {HELP_S} s", start.wall_s < HELP_S)
            if aim
            else Row(f"start: {name}", str(start))
        )
    return rows


def napari_rows(times: int) -> list[Row]:
    """Discovery of plugins and napari's viewer, without this plugin and with it."""
    without = " without this plugin"
    commands = {f"plugins found{without}": (*CHILD, "discovery", "without")}
    commands["plugins found with it"] = (*CHILD, "discovery")
    if _has_display():
        commands[f"napari drawn{without}"] = (*CHILD, "viewer", "without")
        commands["napari drawn with it"] = (*CHILD, "viewer")
    found = starts(times, commands)
    rows = []
    for title in ("plugins found", "napari drawn"):
        if f"{title}{without}" in found:
            bare, ours = found[f"{title}{without}"], found[f"{title} with it"]
            ratio = ours.cpu_s / bare.cpu_s
            rows.append(Row(f"start: {title}{without}", str(bare)))
            said = f"{ours}, {ratio:.2f} times"
            rows.append(Row(f"start: {title} with it", said, f"<= {MORE} times", ratio <= MORE))
    return rows


def panel_rows(times: int) -> list[Row]:
    """Each panel opened first in a drawn viewer, and all of them as the workspace."""
    if not _has_display():
        return [Row("start: panels in napari", "no display (run under xvfb-run)")]
    rows = []
    for name in (*PANELS, "workspace"):
        runs = [run_child(*CHILD, "viewer", name).said for _ in range(times)]
        gui_s, wall_s = (min(float(run[key]) for run in runs) for key in ("gui_s", "wall_s"))
        what = "all panels (the workspace)" if name == "workspace" else f"the panel {name}"
        rows.append(Row(f"start: {what}", str(Start(gui_s, wall_s))))
    return rows


def start_rows(times: int = 5) -> list[Row]:
    """The rows of the table."""
    fewer = max(1, times // 2)
    return [*command_rows(times), *napari_rows(times), *panel_rows(fewer)]


def _has_display() -> bool:
    return not sys.platform.startswith("linux") or bool(os.environ.get("DISPLAY"))


def main() -> int:
    """Run; exits with 1 if a target was missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start_speed")
    parser.add_argument("--times", type=int, default=5)
    rows = start_rows(parser.parse_args().times)
    print("\n".join(row.markdown() for row in rows))
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
