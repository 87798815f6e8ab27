"""Facts of the base that a library of the train environment can confirm."""

import numpy as np
from transformers.models.pixtral.image_processing_pixtral import get_resize_output_image_size

from common import facts


def test_image_geometry_is_the_processors():
    for width, height in (
        (5, 7),
        (16, 17),
        (640, 480),
        (1025, 9),
        (3000, 2000),
        (1024, 1024),
        (999, 5000),
    ):
        wanted = get_resize_output_image_size(np.zeros((height, width, 3)), (1024, 1024), (16, 16))
        assert facts.resized(width, height)[::-1] == tuple(wanted)
