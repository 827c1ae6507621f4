"""The embedded digits: all of scikit-learn's, in MNIST's format, split by class."""

import re
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tinyflux.data import digits
from tinyflux.installed import pip_install


@pytest.mark.parametrize(("split", "n"), [("train", 1437), ("test", 360)])
def test_format(split, n):
    images, labels = digits(split)
    assert images.shape == (n, 28, 28)
    assert images.dtype == np.float32
    assert images.flags.c_contiguous
    assert labels.shape == (n,)
    assert labels.dtype == np.int64
    assert images.min() == 0
    assert 0.95 < images.max() <= 1
    frame = np.ones((28, 28), bool)
    frame[4:-4, 4:-4] = False
    assert not images[:, frame].any()
    assert images[:, ~frame].mean() > 0.2


def test_a_fifth_of_every_class_is_for_testing():
    train, test = (np.bincount(digits(split)[1], minlength=10) for split in ("train", "test"))
    assert len(train) == len(test) == 10
    assert np.abs(test / (train + test) - 0.2).max() < 0.01


def test_the_splits_are_scikit_learn_s_samples_each_once_enlarged_with_its_label():
    given = load_digits()
    images, labels = (np.concatenate(parts) for parts in zip(digits("train"), digits("test"), strict=True))
    centres = (np.arange(20) + 0.5) / 2.5 - 0.5
    hats = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(8)))
    enlarged = (hats @ (given.images / 16) @ hats.T).reshape(-1, 400)
    found = images[:, 4:-4, 4:-4].reshape(-1, 400)
    match = (np.square(enlarged).sum(1) - 2 * found @ enlarged.T).argmin(1)
    assert sorted(match) == list(range(1797))
    assert np.abs(found - enlarged[match]).max() < 1e-6
    assert (labels == given.target[match]).all()


def test_samples_are_mixed_not_sorted_by_class():
    for split in ("train", "test"):
        labels = digits(split)[1]
        assert (np.diff(labels) != 0).mean() > 0.7


def test_every_call_gives_the_same():
    for split in ("train", "test"):
        for first, second in zip(digits(split), digits(split), strict=True):
            assert np.array_equal(first, second)


def test_an_unknown_split():
    with pytest.raises(ValueError, match=r"split: expected 'train' or 'test', got 'validation'"):
        digits("validation")


def test_without_scikit_learn(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match="scikit-learn.*" + re.escape(pip_install("examples"))):
        digits("train")
