"""Which part of a picture a side view shows: all of it, or nearer. No Qt."""

from __future__ import annotations

from dataclasses import dataclass, replace

Box = tuple[float, float, float, float]
"""Left, top, width and height."""
MOST = 16.0
_MARGIN = 0.08
"""A point this near to the edge of the window, in shares of it, is brought to the middle."""


@dataclass(frozen=True, slots=True)
class PaneView:
    """How near a picture is looked at.

    ``zoom`` is 1 where all of it is shown as large as fits; ``middle`` is what stands in the middle
    of the window, in shares of the picture to the right and down.
    """

    zoom: float = 1.0
    middle: tuple[float, float] = (0.5, 0.5)

    def box(self, window: tuple[float, float], picture: tuple[float, float]) -> Box:
        """Where the whole picture lies, beyond the window too.

        Parameters
        ----------
        window
            Width and height in pixels.
        picture
            Width and height in mm: proportions are kept.
        """
        factor = self.zoom * min(window[0] / picture[0], window[1] / picture[1])
        size = picture[0] * factor, picture[1] * factor
        left, top = (
            window[i] / 2 - _kept(self.middle[i], window[i], size[i]) * size[i] for i in (0, 1)
        )
        return left, top, size[0], size[1]

    def zoomed(
        self,
        factor: float,
        at: tuple[float, float],
        window: tuple[float, float],
        picture: tuple[float, float],
    ) -> PaneView:
        """Nearer by ``factor``; what is at the pixel ``at`` stays there, if the edges allow it."""
        left, top, *size = self.box(window, picture)
        share = (at[0] - left) / size[0], (at[1] - top) / size[1]
        nearer = replace(self, zoom=min(max(self.zoom * factor, 1.0), MOST))
        _, _, *size = nearer.box(window, picture)
        across, down = (share[i] - (at[i] - window[i] / 2) / size[i] for i in (0, 1))
        return replace(nearer, middle=(across, down)).settled(window, picture)

    def moved(
        self, by: tuple[float, float], window: tuple[float, float], picture: tuple[float, float]
    ) -> PaneView:
        """The picture dragged by so many pixels, as far as its edges allow."""
        start = self.settled(window, picture)
        _, _, *size = start.box(window, picture)
        across, down = (start.middle[i] - by[i] / size[i] for i in (0, 1))
        return replace(start, middle=(across, down)).settled(window, picture)

    def showing(
        self,
        share: tuple[float, float],
        window: tuple[float, float],
        picture: tuple[float, float],
    ) -> PaneView:
        """The same, or with the point ``share`` of the picture in the middle if it was not seen."""
        left, top, *size = self.box(window, picture)
        at = (left + share[0] * size[0]) / window[0], (top + share[1] * size[1]) / window[1]
        if self.zoom == 1 or all(_MARGIN < place < 1 - _MARGIN for place in at):
            return self
        return replace(self, middle=share).settled(window, picture)

    def settled(self, window: tuple[float, float], picture: tuple[float, float]) -> PaneView:
        """``middle`` as it is shown: a picture larger than the window fills it."""
        _, _, *size = self.box(window, picture)
        across, down = (_kept(self.middle[i], window[i], size[i]) for i in (0, 1))
        return replace(self, middle=(across, down))


def _kept(middle: float, window: float, size: float) -> float:
    edge = min(0.5, window / (2 * size))
    return min(max(middle, edge), 1 - edge)
