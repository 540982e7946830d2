"""Reading what users have, and built-in data: arrays in [-1, 1], NaN = missing.

Images are (n, channels, height, width), sounds (samples,).
"""

from abpnet.data.builtin import digits, sound_recording, spots, texture_photograph
from abpnet.data.datasets import stack_dataset
from abpnet.data.images import load_image, load_images, save_image
from abpnet.data.limits import Limits
from abpnet.data.masks import draw_mask, pepper, region
from abpnet.data.sounds import load_sound, save_sound
from abpnet.data.variations import Variation, vary

__all__ = [
    "Limits",
    "Variation",
    "digits",
    "draw_mask",
    "load_image",
    "load_images",
    "load_sound",
    "pepper",
    "region",
    "save_image",
    "save_sound",
    "sound_recording",
    "spots",
    "stack_dataset",
    "texture_photograph",
    "vary",
]
