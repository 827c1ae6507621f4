"""DataLoader: every sample once a pass, in the data's own form."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinyflux import arrays
from tinyflux.data import DataLoader


@settings(derandomize=True, deadline=None)
@given(
    n=st.integers(1, 40),
    batchsize=st.integers(1, 40),
    shuffle=st.booleans(),
    partial=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_pass(n, batchsize, shuffle, partial, seed):
    x, y = np.arange(n * 3.0).reshape(n, 3), np.arange(n)
    batchsize = min(batchsize, n)
    loader = DataLoader((x, y), batchsize, shuffle=shuffle, partial=partial, rng=np.random.default_rng(seed))
    for _ in range(2):
        batches = list(loader)
        assert len(batches) == len(loader)
        sizes = [len(labels) for _, labels in batches]
        whole, rest = divmod(n, batchsize)
        assert sizes == [batchsize] * whole + [rest] * (partial and rest > 0)
        seen = np.concatenate([labels for _, labels in batches])
        assert len(set(seen.tolist())) == len(seen) == sum(sizes)
        if not shuffle:
            assert seen.tolist() == list(range(len(seen)))
        for samples, labels in batches:
            assert type(samples) is np.ndarray
            assert samples.dtype == x.dtype
            assert samples.tolist() == x[labels].tolist()


@pytest.mark.parametrize("batchsize", [1, 7])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_have_the_form_of_the_data(batchsize, shuffle):
    x = np.arange(20).reshape(10, 2)
    (array, *_), (single, *_), (pair, *_), (named, *_) = (
        DataLoader(data, batchsize, shuffle=shuffle)
        for data in (x, (x,), (x, x[:, 0]), {"input": x, "target": x[:, 0]})
    )
    assert isinstance(array, np.ndarray)
    assert array.shape == (batchsize, 2)
    assert isinstance(single, tuple)
    assert len(single) == 1
    assert single[0].shape == (batchsize, 2)
    assert isinstance(pair, tuple)
    assert [part.shape for part in pair] == [(batchsize, 2), (batchsize,)]
    assert isinstance(named, dict)
    assert list(named) == ["input", "target"]
    assert named["target"].shape == (batchsize,)


@pytest.mark.parametrize("batchsize", [1, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_data_in_data(batchsize, shuffle):
    x = np.arange(20).reshape(10, 2)
    loader = DataLoader(((x, {"mask": (x[:, 0],), "twice": x}), x[:, 1]), batchsize, shuffle=shuffle)
    seen = []
    for inputs, y in loader:
        assert type(inputs) is tuple
        assert list(inputs[1]) == ["mask", "twice"]
        assert type(inputs[1]["mask"]) is tuple
        np.testing.assert_array_equal(inputs[0], np.stack([inputs[1]["mask"][0], y], axis=1))
        seen += y.tolist()
    assert sorted(seen) == x[:, 1].tolist()
    with pytest.raises(TypeError, match=r"expected data\[0\]\['a'\] to be an array, or .*, got a list"):
        DataLoader(({"a": [1, 2]}, x))
    with pytest.raises(ValueError, match=r"one length, got 10 in data\[0\]\[0\], 9 in data\[0\]\[1\]"):
        DataLoader(((x, x[1:]),))


def test_every_pass_is_shuffled_anew():
    loader = DataLoader(np.arange(100), 10, shuffle=True, rng=np.random.default_rng(0))
    first, second = np.concatenate(list(loader)), np.concatenate(list(loader))
    assert first.tolist() != second.tolist() != list(range(100)) != first.tolist()
    again = DataLoader(np.arange(100), 10, shuffle=True, rng=np.random.default_rng(0))
    assert np.concatenate(list(again)).tolist() == first.tolist()
    assert np.concatenate(list(again)).tolist() == second.tolist()


@pytest.mark.parametrize("partial", [False, True])
def test_samples_left_over_differ_from_pass_to_pass(partial):
    loader = DataLoader(np.arange(10), 7, shuffle=True, partial=partial, rng=np.random.default_rng(0))
    firsts = {frozenset(next(iter(loader)).tolist()) for _ in range(20)}
    assert len(firsts) > 10


@pytest.mark.parametrize("batchsize", [1, 5])
def test_the_default_generator_is_the_library_s_current_one(batchsize):
    loader = DataLoader(np.arange(50), batchsize, shuffle=True)
    arrays.seed(3)
    first = np.concatenate(list(loader)).tolist()
    assert np.concatenate(list(loader)).tolist() != first
    arrays.seed(3)
    assert np.concatenate(list(loader)).tolist() == first
    assert first == np.random.default_rng(3).permutation(50).tolist()


def test_two_passes_at_once_do_not_disturb_each_other():
    loader = DataLoader(np.arange(6), 2)
    assert [(a.tolist(), b.tolist()) for a, b in zip(loader, loader, strict=True)] == [
        ([i, i + 1],) * 2 for i in (0, 2, 4)
    ]


@pytest.mark.parametrize("inside", [False, True])
def test_a_pass_goes_on_with_its_arrays(inside):
    """Others in their place are for the next pass."""
    loader = DataLoader({"x": np.arange(4)}, 2)
    batches = iter(loader)
    taken = [next(batches)]
    if inside:
        loader.data["x"] = np.arange(10, 14)
    else:
        loader.data = {"x": np.arange(10, 14)}
    taken += [*batches, *loader]
    assert [batch["x"].tolist() for batch in taken] == [[0, 1], [2, 3], [10, 11], [12, 13]]


@pytest.mark.parametrize("samples", [3, 5])
def test_other_data_have_as_many_samples(samples):
    loader = DataLoader({"x": np.arange(4)}, 2, shuffle=True)
    loader.data["x"] = np.arange(samples)
    with pytest.raises(ValueError, match=f"expected its data to have 4 samples, as when it was made, got {samples}"):
        iter(loader)


def test_unshuffled_batches_and_single_samples_are_views():
    x = np.arange(10)
    assert all(np.shares_memory(batch, x) for batch in DataLoader(x, 3))
    assert all(np.shares_memory(batch, x) for batch in DataLoader(x, 1, shuffle=True))
    assert not any(np.shares_memory(batch, x) for batch in DataLoader(x, 3, shuffle=True))


class DeviceArray:
    """Stands in for a CuPy array: indexed like NumPy's, never converted."""

    def __init__(self, array):
        self.array = array
        self.shape, self.ndim = array.shape, array.ndim

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return DeviceArray(self.array[index])

    def __array__(self, *args, **kwargs):
        raise TypeError("implicit conversion to a NumPy array")

    def __array_ufunc__(self, *args, **kwargs):
        raise TypeError("no arithmetic is needed to load data")

    def reshape(self, *shape):
        raise TypeError("no reshaping is needed to load data")


@pytest.mark.parametrize("batchsize", [1, 4])
@pytest.mark.parametrize("shuffle", [False, True])
def test_arrays_elsewhere_stay_there(batchsize, shuffle):
    loader = DataLoader((DeviceArray(np.arange(8)), np.arange(8)), batchsize, shuffle=shuffle)
    for there, here in loader:
        assert type(there) is DeviceArray
        assert there.array.tolist() == here.tolist()


def test_a_batchsize_above_n_warns_and_shrinks():
    with pytest.warns(UserWarning, match=r"batchsize 20 is above the number of samples; using 6") as caught:
        loader = DataLoader(np.arange(6), 20, partial=False)
    assert caught[0].filename == __file__
    assert [batch.tolist() for batch in loader] == [list(range(6))]
    assert len(loader) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DataLoader(np.arange(6), 6)


def test_arrays_of_different_length():
    with pytest.raises(ValueError, match=r"one length, got 60 in data\[0\], 59 in data\[1\]"):
        DataLoader((np.zeros((60, 2)), np.zeros(59)))
    with pytest.raises(ValueError, match=r"one length, got 2 in data\['x'\], 3 in data\['y'\]"):
        DataLoader({"x": np.zeros(2), "y": np.zeros(3)})
    with pytest.raises(ValueError, match=r"got 2 in data\[0\], 3 in data\[1\], 2 in data\[2\]"):
        DataLoader((np.zeros(2), np.zeros(3), np.zeros(2)))


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (
            np.zeros((0, 3)),
            ValueError,
            r"expected samples along the first axis of data, got .* \(0, 3\)",
        ),
        (np.array(1.0), ValueError, r"expected samples along the first axis of data, got an array of shape \(\)"),
        ((np.zeros(3), np.zeros(0)), ValueError, r"axis of data\[1\], got an array of shape \(0,\)"),
        ((), ValueError, r"DataLoader: expected at least one array as data, got \(\)"),
        ({}, ValueError, r"DataLoader: expected at least one array as data, got \{\}"),
        (
            [1, 2, 3],
            TypeError,
            r"expected data to be an array, or .*, got a list\. Give np\.array\(x\)\.",
        ),
        ((np.zeros(3), [1, 2, 3]), TypeError, r"expected data\[1\] to be an array, .* got a list"),
        (None, TypeError, r"expected data to be an array, .* got None"),
    ],
)
def test_what_is_no_data(data, error, message):
    with pytest.raises(error, match=message):
        DataLoader(data)


@pytest.mark.parametrize("batchsize", [0, -1])
def test_a_batchsize_below_one(batchsize):
    with pytest.raises(ValueError, match=rf"batchsize to be an integer, at least 1, got {batchsize}"):
        DataLoader(np.zeros(3), batchsize)


@pytest.mark.parametrize("batchsize", [2.0, "2", None, True])
def test_a_batchsize_that_is_no_integer(batchsize):
    with pytest.raises(TypeError, match=rf"batchsize to be an integer, at least 1, got {batchsize!r}"):
        DataLoader(np.zeros(3), batchsize)


def test_a_numpy_integer_is_an_integer():
    assert len(DataLoader(np.zeros(3), np.int32(2))) == 2


@pytest.mark.parametrize("rng", [0, np.random.RandomState(0), np.random])
def test_an_rng_that_is_no_generator(rng):
    with pytest.raises(TypeError, match=r"expected rng to be a numpy.random.Generator, got .*default_rng"):
        DataLoader(np.zeros(3), rng=rng)


def test_repr():
    loader = DataLoader(np.zeros((1437, 2)), batchsize=128, shuffle=True, partial=False)
    assert repr(loader) == "DataLoader(1,437 samples, batchsize=128, shuffle=True, partial=False)"
