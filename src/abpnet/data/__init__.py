"""Reading what users have, and built-in data: arrays (n, channels, height, width) in [-1, 1], NaN = missing."""

from abpnet.data.builtin import digits, spots, texture_photograph
from abpnet.data.images import load_image, load_images, save_image
from abpnet.data.masks import draw_mask, pepper, region

__all__ = [
    "digits",
    "draw_mask",
    "load_image",
    "load_images",
    "pepper",
    "region",
    "save_image",
    "spots",
    "texture_photograph",
]
