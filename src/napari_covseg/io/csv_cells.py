"""Texts in CSV files that a spreadsheet opens: none of them may become a formula.

Excel and LibreOffice run what begins with one of ``= + - @``, and a case is named after a file that
somebody else named (CWE-1236). An apostrophe before it makes it text, as OWASP advises.
"""

from __future__ import annotations

from typing import TypeVar

T = TypeVar("T")
_STARTS_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def csv_cell(value: T) -> T | str:
    """The value, or its text with an apostrophe before it if it would be run; numbers stay."""
    if not isinstance(value, str) or not value.startswith(_STARTS_FORMULA):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value
