"""What `benchmarks.hitl` found, as a table and a picture.

python -m benchmarks.hitl_report DIR [--plot FILE.png]
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.hitl import AFTER, ARMS

LINES = {
    "queue": ("#0072b2", "queue, guarded"),
    "random": ("#e69f00", "random order, guarded"),
    "unguarded": ("#999999", "random order, unguarded"),
}
Rounds = list[dict[str, Any]]


def read(folder: Path) -> dict[str, dict[int, Rounds]]:
    """Rounds by arm and seed; round 0 is the start model."""
    found: dict[str, dict[int, Rounds]] = {}
    for path in sorted(folder.glob("seed_*/*/rounds.json")):
        seed = int(path.parts[-3].removeprefix("seed_"))
        start = json.loads((path.parents[1] / "start.json").read_text()) | {"round": 0}
        found.setdefault(path.parent.name, {})[seed] = [start, *json.loads(path.read_text())]
    return {arm: found[arm] for arm in ARMS if arm in found}


def of_live(rounds: Rounds) -> Rounds:
    """For each round the figures of the model that was live after it."""
    live: Rounds = []
    for one in rounds:
        took = one["round"] == 0 or one["promoted"] or not live
        live.append(one if took else {**one, "new": live[-1]["new"], "old": live[-1]["old"]})
    return live


def infection(rounds: Rounds, domain: str) -> list[float]:
    """Pooled Dice of infection after each round."""
    return [one[domain]["classes"]["infection"]["pooled"] for one in rounds]


def still_to_change(rounds: Rounds) -> list[float]:
    """Voxels that would have to be changed on a held-out slice of the new domain."""
    return [one["new"]["voxels_to_change_per_slice"] for one in rounds]


def spread(values: list[float]) -> str:
    """Mean, and lowest and highest."""
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def table(arms: dict[str, dict[int, Rounds]]) -> str:
    """Markdown: start and end of each arm over the seeds, and what the gate decided."""
    rows = [
        "| arm | new domain, start | new model of round 5 | live after round 5 "
        "| old domain, start | new model of round 5 | live after round 5 | promoted |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for arm, seeds in arms.items():
        if arm in AFTER:
            continue
        cells = []
        for domain in ("new", "old"):
            trained = [infection(rounds, domain) for rounds in seeds.values()]
            live = [infection(of_live(rounds), domain) for rounds in seeds.values()]
            cells += [spread([one[0] for one in trained]), spread([one[-1] for one in trained])]
            cells.append(spread([one[-1] for one in live]))
        promoted = sum(one["promoted"] for rounds in seeds.values() for one in rounds[1:])
        total = sum(len(rounds) - 1 for rounds in seeds.values())
        rows.append(f"| {arm} | {' | '.join(cells)} | {promoted} of {total} |")
    return "\n".join(rows)


def decisions(arms: dict[str, dict[int, Rounds]]) -> str:
    """What the gate said, round by round."""
    lines = []
    for arm, seeds in arms.items():
        for seed, rounds in seeds.items():
            for one in rounds[1:]:
                verdict = "promoted" if one["promoted"] else "refused"
                changed = f"{one['voxels_changed'] / len(one['cases']):.0f}"
                lines.append(
                    f"| {arm} | {seed} | {one['round']} | {changed} | {verdict} | "
                    f"{one['decision']['reason']} |"
                )
    head = "| arm | seed | round | voxels changed a case | gate | why |\n|---|---|---|---|---|---|"
    return "\n".join([head, *lines])


def draw(arms: dict[str, dict[int, Rounds]], path: Path) -> None:
    """Three panels: what is gained, what is kept, what is left to correct."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    titles = (
        "New domain: Dice of infection\nlive model",
        "Old domain: Dice of infection\nmodel just trained",
        "New domain: voxels to correct in a slice\nlive model",
    )
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=9)
        axes.set_xlabel("round (five cases each)")
        axes.spines[["top", "right"]].set_visible(False)
    for arm, (colour, label) in LINES.items():
        if arm not in arms:
            continue
        # What the annotator gets is the live model; what forgetting does shows in the trained one.
        live = [of_live(rounds) for rounds in arms[arm].values()]
        trained = list(arms[arm].values())
        series = (
            [infection(rounds, "new") for rounds in live],
            [infection(rounds, "old") for rounds in trained],
            [still_to_change(rounds) for rounds in live],
        )
        for axes, values in zip(panels, series, strict=True):
            lines = np.array(values)
            axes.plot(lines.mean(axis=0), color=colour, label=label, marker="o", markersize=3)
            low, high = lines.min(axis=0), lines.max(axis=0)
            axes.fill_between(range(lines.shape[1]), low, high, color=colour, alpha=0.15)
    panels[0].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print the tables; draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    arms = read(args.folder)
    print(table(arms), decisions(arms), sep="\n\n")
    if args.plot:
        draw(arms, args.plot)


if __name__ == "__main__":
    main()
