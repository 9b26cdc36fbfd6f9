"""Key pictures: what is drawn in which colour."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from napari_covseg.reports.findings_pictures import _HEALTHY, _draw_projection
from napari_covseg.reports.planes import Projection


def test_lung_without_lesion_is_grey_and_the_least_lesion_is_not():
    percent = np.array([[np.nan, 0.0, 0.5, 100.0]], np.float32)
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    _draw_projection(figure, axes, Projection(percent, (1.0, 1.0)))
    grey, shares = (image.cmap(image.norm(image.get_array()))[0] for image in axes.images)
    assert grey[:, 3].tolist() == [0, 1, 1, 1]
    assert np.allclose(grey[1:, :3], to_rgb(_HEALTHY))
    assert shares[:, 3].tolist() == [0, 0, 1, 1]
    assert shares[2, 0] > 0.9
    assert shares[2, 2] > shares[3, 2], "more is darker"
