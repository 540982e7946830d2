import pytest

from abpnet.data.limits import Limits
from abpnet.errors import InputError


def test_what_is_within_the_limits_passes():
    Limits(max_pixels=12, max_bytes=100).check_pixels("picture.png", 3, 4)
    Limits(max_pixels=12, max_bytes=100).check_bytes("sound.wav", 100)


def test_what_is_not_is_told_with_file_size_and_setting():
    with pytest.raises(InputError, match=r"picture\.png: 4 x 4 pixels, more than the 12 allowed.*--max-pixels"):
        Limits(max_pixels=12).check_pixels("picture.png", 4, 4)
    with pytest.raises(InputError, match=r"sound\.wav: 2 GiB once decoded, more than the 1 allowed.*--max-gigabytes"):
        Limits(max_bytes=2**30).check_bytes("sound.wav", 2**31)
