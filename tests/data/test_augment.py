"""Augmentation: every image of a batch is what it may be, all that may be occurs, and nothing else changes."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tinyflux as flux
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray
from tinyflux import device
from tinyflux.data import cutout, normalise, random_crop, random_flip

DTYPES = (np.uint8, np.float32, np.float64)
batches = st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
drawn = settings(derandomize=True, deadline=None)


def some(shape, dtype=np.uint8):
    """Images whose pixels differ as far as they can, none of them zero."""
    return (np.arange(np.prod(shape)) % 255 + 1).astype(dtype).reshape(shape)


def shifts(image, crop, padding):
    """All (down, right) by which the window has moved that `crop` can be."""
    height, width, _ = image.shape
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)))
    moved = range(2 * padding + 1)
    windows = {(i - padding, j - padding): padded[i : i + height, j : j + width] for i in moved for j in moved}
    return [shift for shift, window in windows.items() if np.array_equal(window, crop)]


@drawn
@given(shape=batches, padding=st.integers(1, 4), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_every_crop_is_a_window_of_the_padded_image(shape, padding, dtype, seed):
    images = some(shape, dtype)
    crops = random_crop(images, np.random.default_rng(seed), padding)
    assert (crops.shape, crops.dtype) == (images.shape, images.dtype)
    for image, crop in zip(images, crops, strict=True):
        assert shifts(image, crop, padding)


def test_every_shift_occurs_equally_often_and_each_image_has_its_own():
    image = some((1, 8, 5, 3))
    crops = random_crop(np.repeat(image, 5000, axis=0), np.random.default_rng(0), padding=2)
    found = [shifts(image[0], crop, 2) for crop in crops]
    assert all(len(places) == 1 for places in found)
    counts = {}
    for ((down, right),) in found:
        counts[down, right] = counts.get((down, right), 0) + 1
    assert counts.keys() == {(i, j) for i in range(-2, 3) for j in range(-2, 3)}
    assert all(140 < count < 260 for count in counts.values())  # 200 on average, 14 the standard deviation


@drawn
@given(shape=batches, dtype=st.sampled_from(DTYPES), p=st.sampled_from([0, 0.5, 1]), seed=st.integers(0, 99))
def test_a_flip_mirrors_columns_or_nothing(shape, dtype, p, seed):
    images = some(shape, dtype)
    flipped = random_flip(images, np.random.default_rng(seed), p)
    assert (flipped.shape, flipped.dtype) == (images.shape, images.dtype)
    for image, new in zip(images, flipped, strict=True):
        assert (p < 1 and np.array_equal(new, image)) or (p > 0 and np.array_equal(new, image[:, ::-1, :]))


def test_each_image_is_flipped_with_the_given_probability():
    images = some((4000, 1, 2, 1))
    for p in (0.5, 0.1):
        changed = (random_flip(images, np.random.default_rng(0), p) != images).any((1, 2, 3))
        assert abs(changed.mean() - p) < 0.03


def squares(image, size):
    """The image with a square around each of its pixels, as loops put it there."""
    height, width, _ = image.shape
    for i in range(height):
        for j in range(width):
            result = image.copy()
            top, left = i - size // 2, j - size // 2
            for y in range(max(top, 0), min(top + size, height)):
                for x in range(max(left, 0), min(left + size, width)):
                    result[y, x] = 0
            yield result


@drawn
@given(shape=batches, size=st.integers(1, 7), dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_cutout_leaves_a_square_of_zeros(shape, size, dtype, seed):
    images = some(shape, dtype)
    cut = cutout(images, np.random.default_rng(seed), size)
    assert (cut.shape, cut.dtype) == (images.shape, images.dtype)
    for image, new in zip(images, cut, strict=True):
        assert any(np.array_equal(new, square) for square in squares(image, size))


def test_every_pixel_is_as_often_the_centre():
    image = some((1, 3, 4, 2))
    cut = cutout(np.repeat(image, 3000, axis=0), np.random.default_rng(0), size=1)
    counts = (cut == 0).all(-1).sum(0)
    assert counts.sum() == 3000
    assert counts.min() > 190  # 250 on average, 15 the standard deviation
    assert counts.max() < 310


@drawn
@given(shape=batches, dtype=st.sampled_from(DTYPES), seed=st.integers(0, 99))
def test_normalise_is_its_formula(shape, dtype, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, shape).astype(dtype)
    mean, std = rng.uniform(50, 150, shape[-1]), rng.uniform(20, 90, shape[-1])
    result = normalise(images, mean, std)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (images.astype(np.float64) - mean) / std, rtol=1e-5, atol=1e-5)


EACH = {
    "random_crop": random_crop,
    "random_flip": random_flip,
    "cutout": lambda images, rng: cutout(images, rng, 3),
    "normalise": lambda images, rng: normalise(images, (3, 2, 1), (1, 2, 3)),
}


@pytest.mark.parametrize("name", EACH)
def test_the_batch_stays_as_it_is(name):
    """Also where it may not be written to, or lies in another order in memory."""
    images = some((6, 5, 4, 3))
    before = images.copy()
    images.flags.writeable = False
    new = EACH[name](images, np.random.default_rng(0))
    assert not np.shares_memory(new, images)
    assert new.flags.c_contiguous
    np.testing.assert_array_equal(images, before)
    other = np.asfortranarray(images)
    np.testing.assert_array_equal(EACH[name](other, np.random.default_rng(0)), new)


@pytest.mark.parametrize("name", EACH)
def test_on_the_gpu_they_draw_and_give_the_same(name, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    device._fault.cache_clear()
    images = some((6, 5, 4, 3))
    new = EACH[name](flux.gpu(images), np.random.default_rng(0))
    assert type(new) is DeviceArray
    np.testing.assert_array_equal(new.get(), EACH[name](images, np.random.default_rng(0)))
    device._fault.cache_clear()


IMAGES = some((2, 3, 3, 3))


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], r"expected images \(N, H, W, channels\), got an array of shape \(3, 3, 3\)\. Add the axis of"),
        (IMAGES[0, 0], r"expected images \(N, H, W, channels\), got an array of shape \(3, 3\)\.$"),
        ([IMAGES], r"expected images \(N, H, W, channels\), got a list\.$"),
    ],
)
def test_what_are_no_images(name, images, message):
    with pytest.raises(ValueError, match=rf"^{name}: {message}"):
        EACH[name](images, np.random.default_rng(0))


@pytest.mark.parametrize("name", [name for name in EACH if name != "normalise"])
def test_what_is_no_generator(name):
    with pytest.raises(TypeError, match=rf"^{name}: expected rng to be a numpy.random.Generator, got 0\. A DataLoader"):
        EACH[name](IMAGES, 0)


RNG = np.random.default_rng(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: random_crop(IMAGES, RNG, 0), r"random_crop: expected padding to be an integer, at least 1, got 0"),
        (lambda: random_flip(IMAGES, RNG, 2), r"random_flip: expected p to be a number from 0 to 1, got 2"),
        (lambda: cutout(IMAGES, RNG, 0), r"cutout: expected size to be an integer, at least 1, got 0"),
        (lambda: normalise(IMAGES, 1, (1, 2, 3)), r"normalise: expected mean to be 3 numbers, one a channel, got 1"),
        (lambda: normalise(IMAGES, (1, 2, 3), (1, 2)), r"normalise: expected std to be 3 numbers, .* got \(1, 2\)"),
        (
            lambda: normalise(IMAGES, (1, 2, 3), (1, 0, 1)),
            r"expected std to be finite numbers above 0, got \(1, 0, 1\)",
        ),
        (
            lambda: normalise(IMAGES, (1, 2, np.nan), (1, 1, 1)),
            r"expected mean to be finite numbers, got \(1, 2, nan\)",
        ),
    ],
)
def test_numbers_that_cannot_be_meant(call, message):
    with pytest.raises(ValueError, match=message):
        call()
