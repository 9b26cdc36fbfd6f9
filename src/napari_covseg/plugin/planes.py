"""Axial, coronal and sagittal: how each is shown, so that no patient is ever sideways or mirrored.

Axial is seen from the feet (the patient's right on the left of the screen, anterior on top),
coronal from the front, sagittal from the patient's left; superior is up in both.
"""

from __future__ import annotations

from dataclasses import dataclass

Order = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Plane:
    """A way to look at a ``(z, y, x)`` volume.

    ``order`` is napari's order of the axes (the last two are vertical and horizontal),
    ``growth`` where depth, vertical and horizontal axis grow, ``edges`` the letters at the left,
    right, top and bottom of the screen.
    """

    name: str
    order: Order
    growth: tuple[str, str, str]
    edges: tuple[str, str, str, str]


AXIAL = Plane("Axial", (0, 1, 2), ("away", "down", "right"), ("R", "L", "A", "P"))
CORONAL = Plane("Coronal", (1, 0, 2), ("away", "up", "right"), ("R", "L", "S", "I"))
SAGITTAL = Plane("Sagittal", (2, 0, 1), ("towards", "up", "right"), ("A", "P", "S", "I"))
PLANES = (AXIAL, CORONAL, SAGITTAL)


def plane_of(order: tuple[int, ...]) -> Plane:
    """The plane that an order of axes shows, whichever way round its two axes are."""
    return next(plane for plane in PLANES if plane.order[0] == order[0])


def upright(order: tuple[int, ...], before: Plane) -> Plane:
    """The plane to show after napari changed the order of the axes by rolling or transposing.

    Rolling goes axial, sagittal, coronal and round again; transposing, which would lay the
    patient on the side, changes nothing. Rolling from coronal and transposing sagittal give one
    order, so the plane that was shown ``before`` decides.
    """
    if order == (2, 1, 0):
        return AXIAL if before is CORONAL else before
    return plane_of(order)


def lps_text(lps_mm: tuple[float, float, float]) -> str:
    """A position as a radiologist writes it: ``L 12.0  P 40.5  S 210.0 mm``."""
    letters = (("L", "R"), ("P", "A"), ("S", "I"))
    parts = [
        f"{positive if value >= 0 else negative} {abs(value):.1f}"
        for value, (positive, negative) in zip(lps_mm, letters, strict=True)
    ]
    return "  ".join(parts) + " mm"
