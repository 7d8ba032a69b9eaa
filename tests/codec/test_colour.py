"""Which colour profiles are sRGB."""

import io
import struct

import numpy as np
import pytest
from PIL import ImageCms

from lic_fast.codec.colour import is_srgb, srgb_profile

LITTLE_CMS = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def changed(tag, change):
    """Our profile with the payload of a tag changed in place."""
    profile = bytearray(srgb_profile())
    (count,) = struct.unpack_from(">I", profile, 128)
    for i in range(count):
        name, start, length = struct.unpack_from(">4sII", profile, 132 + 12 * i)
        if name == tag:
            profile[start : start + length] = change(bytes(profile[start : start + length]))
    return bytes(profile)


def gamma(exponent):
    values = np.rint(65535 * (np.arange(256) / 255) ** exponent).astype(">u2").tobytes()
    return changed(b"rTRC", lambda payload: payload[:12] + values)


def test_the_usual_profiles_are_srgb_whatever_their_bytes():
    assert is_srgb(srgb_profile())
    assert is_srgb(LITTLE_CMS)
    described = changed(b"desc", lambda payload: payload.replace(b"sRGB", b"ABCD"))
    assert described != srgb_profile()
    assert is_srgb(described)
    version_4 = bytearray(LITTLE_CMS)
    version_4[24:36] = struct.pack(">6H", 1999, 12, 31, 1, 2, 3)
    assert is_srgb(bytes(version_4))


def test_others_are_not():
    assert not is_srgb(gamma(2.2))
    assert not is_srgb(gamma(1.8))
    assert not is_srgb(gamma(1.0))
    # Display P3's red, adapted to D50.
    red = struct.pack(">3i", *(round(65536 * v) for v in (0.51512, 0.24120, -0.00105)))
    assert not is_srgb(changed(b"rXYZ", lambda payload: payload[:8] + red))
    grey = bytearray(srgb_profile())
    grey[16:20] = b"GRAY"
    assert not is_srgb(bytes(grey))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    assert not is_srgb(lab)


def test_damaged_and_hostile_profiles_are_not_and_raise_nothing():
    whole = LITTLE_CMS
    random = np.random.default_rng(0)
    for data in (b"", b"icc", whole[:100], whole[:200], bytes(2000), whole + bytes(2**20)):
        assert not is_srgb(data)
    for _ in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 4):
            damaged[place] = random.integers(256)
        is_srgb(bytes(damaged))


def test_our_profile_is_a_sound_one_and_the_same_each_time():
    profile = srgb_profile()
    assert struct.unpack_from(">I", profile)[0] == len(profile) < 1000
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile
    assert opened.profile_description == "sRGB"
    assert opened.xcolor_space.strip() == "RGB"
    assert opened.is_matrix_shaper
    assert np.allclose(opened.media_white_point[1], (0.3457, 0.3585, 1), atol=2e-3)
    srgb_profile.cache_clear()
    assert srgb_profile() == profile


@pytest.mark.parametrize("failure", [ImportError("no LittleCMS"), ImageCms.PyCMSError("broken")])
def test_without_a_colour_library_only_our_own_is_known(failure, monkeypatch):
    def fail(*_, **__):
        raise failure

    is_srgb.cache_clear()
    monkeypatch.setattr(ImageCms, "ImageCmsProfile", fail)
    assert is_srgb(srgb_profile())
    assert not is_srgb(LITTLE_CMS)
    is_srgb.cache_clear()
