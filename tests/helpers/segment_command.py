"""The command that segments, and the results that a user sees."""

import os


def command(scan, model_folder, output, *more):
    """The arguments of ``covseg segment`` on the CPU."""
    return [
        *("segment", str(scan), "--output", str(output)),
        *("--model", str(model_folder), "--device", "cpu", *more),
    ]


def listed(folder):
    """The names in a folder that a user sees."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))
