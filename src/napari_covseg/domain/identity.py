"""Whose scan it is: kept apart from everything else, and written only where a user asks for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Identity:
    """A patient and a study; dates are ISO 8601, empty what is not known."""

    name: str = ""
    patient_id: str = ""
    birth_date: str = ""
    study_date: str = ""
