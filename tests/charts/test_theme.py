"""Colors stay apart for color-blind readers and stand out from white and black."""

from itertools import combinations

import numpy as np
import pytest

from aadsl.charts import theme

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB.
VISION = {
    "full": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_CONES = np.array(
    [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566],
     [0.0883024619, 0.2817188376, 0.6299787005]]
)  # fmt: skip
TO_LAB = np.array(
    [[0.2104542553, 0.793617785, -0.0040720468], [1.9779984951, -2.428592205, 0.4505937099],
     [0.0259040371, 0.7827717662, -0.808675766]]
)  # fmt: skip


def linear(color):
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def oklab(rgb):
    return TO_LAB @ np.cbrt(TO_CONES @ np.clip(rgb, 0, 1))


def contrast(a, b):
    low, high = sorted(float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (a, b))
    return (high + 0.05) / (low + 0.05)


def nearest(colors, vision):
    seen = [oklab(np.array(VISION[vision]) @ linear(c)) for c in colors]
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))


def apart(color, other, vision):
    """How far apart two colors are for this reader: Euclidean in OKLab, where 0.02 is just seen."""
    return nearest((color, other), vision)


@pytest.mark.parametrize("vision", VISION)
def test_every_reader_tells_the_colors_apart(vision):
    assert apart(theme.HELPED, theme.HURT, vision) > 0.15
    assert nearest(theme.STAGES[:4], vision) > 0.06
    assert nearest((*theme.STAGES, theme.MORE), vision) > 0.044


@pytest.mark.parametrize("vision", VISION)
@pytest.mark.parametrize("meaning", [theme.HELPED, theme.HURT])
def test_no_stage_has_a_color_that_means_helped_or_hurt(vision, meaning):
    least = 0.1 if vision == "full" else 0.044
    assert all(apart(color, meaning, vision) > least for color in (*theme.STAGES, theme.MORE))


def test_colors_that_look_alike_would_be_caught():
    assert nearest(("#d62728", "#7a7a00"), "deuteranopia") < 0.044


@pytest.mark.parametrize("paper", ["#ffffff", "#111111"])
@pytest.mark.parametrize("color", [*theme.STAGES, theme.MORE, theme.NEITHER, theme.HELPED, theme.HURT])
def test_colors_stand_out_in_both_themes(color, paper):
    assert contrast(color, paper) >= 3


def test_the_ink_of_paper_is_readable():
    assert contrast(theme.PAPER.soft, theme.PAPER.background) > 7
