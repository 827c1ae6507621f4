"""DataLoader with data on the stand-in for CuPy: it stays there, and so does the order in which it is taken."""

import sys

import numpy as np
import pytest

import tinyflux as flux
from tests.support import device_standin as standin
from tests.support.device_standin import DeviceArray, counted
from tinyflux import device

X, Y = np.arange(30.0).reshape(10, 3), np.arange(10)


@pytest.fixture(autouse=True)
def cupy(monkeypatch):
    module = standin.cupy_module()
    monkeypatch.setitem(sys.modules, "cupy", module)
    device._fault.cache_clear()
    yield module
    device._fault.cache_clear()


def loader(batchsize, seed=0, **options):
    """A shuffling one whose samples tell their numbers."""
    options = {"shuffle": True, "rng": np.random.default_rng(seed), **options}
    return flux.gpu(flux.DataLoader((X, Y), batchsize, **options))


def labels(batches):
    return [y.get().tolist() for _, y in batches]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize(
    ("batchsize", "partial", "sizes"),
    [
        (1, True, [1] * 10),
        (4, True, [4, 4, 2]),
        (4, False, [4, 4]),
        (10, True, [10]),
    ],
)
def test_a_pass(batchsize, partial, sizes, shuffle):
    """Every sample once, with its label; in order where nothing is shuffled."""
    batches = list(loader(batchsize, shuffle=shuffle, partial=partial))
    seen = [number for batch in labels(batches) for number in batch]
    assert [len(y) for _, y in batches] == sizes
    assert len(set(seen)) == len(seen)
    assert set(seen) <= set(range(10))
    assert (seen == list(range(sum(sizes)))) == (not shuffle)
    for x, y in batches:
        assert type(x) is type(y) is DeviceArray
        np.testing.assert_array_equal(x.get(), X[y.get()])


def test_the_forms_of_data():
    for data in (X, (X,), {"x": X, "y": Y}, ((X, {"a": Y}), Y)):
        (batch,) = flux.gpu(flux.DataLoader(data, 10, shuffle=True))
        assert type(batch) is type(data if type(data) is not np.ndarray else flux.gpu(data))
        assert {type(x) for x in flux.leaves(batch)} == {DeviceArray}


@pytest.mark.parametrize(("shuffle", "batchsize", "reads"), [(True, 4, 0), (True, 1, 1), (False, 4, 0), (False, 1, 0)])
def test_nothing_comes_through_the_host(shuffle, batchsize, reads, cupy, monkeypatch):
    """Neither data nor indices, but the order once a pass where samples are taken one by one, as views."""
    data = loader(batchsize, shuffle=shuffle)
    get = DeviceArray.__getitem__

    def getitem(self, index):
        assert not isinstance(index, np.ndarray), "an index comes from the host"
        return get(self, index)

    monkeypatch.setattr(DeviceArray, "__getitem__", getitem)
    monkeypatch.setattr(cupy, "asarray", None)
    batches, found = counted(lambda: list(data))
    assert len(batches) == len(data)
    assert found == reads
    views = {x.base is data.data[0] for x, _ in batches}
    assert views == {batchsize == 1 or not shuffle}


def test_a_seed_gives_an_order():
    """That of the generator it is given, else the library's; every pass is another."""
    first, again, other = loader(4, seed=1), loader(4, seed=1), loader(4, seed=2)
    passes = [labels(first), labels(first)]
    assert passes == [labels(again), labels(again)]
    assert passes[0] != passes[1]
    assert labels(other) not in passes
    flux.seed(3)
    passes = [labels(loader(4, rng=None)) for _ in range(2)]
    flux.seed(3)
    assert passes == [labels(loader(4, rng=None)) for _ in range(2)]
    assert passes[0] != passes[1]


def test_the_order_lies_where_all_of_the_data_does(cupy):
    for shuffle in (False, True):
        order = loader(4, shuffle=shuffle, partial=False).order()
        assert type(order) is DeviceArray
        assert order.shape == (8,)
    there, here = flux.gpu(X), Y
    for data in ((there, here), (here, there)):
        mixed = flux.DataLoader(data, 4, shuffle=True)
        assert type(mixed.order()) is np.ndarray


def test_a_transform_is_given_batches_there_and_a_generator_of_numpy_s():
    """What it draws is the same as on the CPU, batch by batch."""
    images = np.arange(40 * 12).reshape(40, 2, 2, 3) % 251 + 1
    transform = lambda batch, rng: (flux.data.random_crop(batch, rng, 1), batch)  # noqa: E731
    here = flux.DataLoader(images, 16, transform=transform, rng=np.random.default_rng(0))
    there = flux.gpu(flux.DataLoader(images, 16, transform=transform, rng=np.random.default_rng(0)))
    for (crops, batch), (expected, chosen) in zip(there, here, strict=True):
        assert type(crops) is type(batch) is DeviceArray
        np.testing.assert_array_equal(batch.get(), chosen)
        np.testing.assert_array_equal(crops.get(), expected)


def test_a_loader_moves_there_and_back():
    """As a whole: the batches keep their size, the generator is the same one, and NumPy's order comes again."""
    before = flux.DataLoader((X, Y), 4, shuffle=True, partial=False, rng=np.random.default_rng(0))
    expected = before.order().tolist()
    there = flux.gpu(before)
    assert type(before.data[0]) is np.ndarray
    assert (len(there), repr(there), there.rng) == (len(before), repr(before), before.rng)
    assert flux.gpu(there) is there
    back = flux.cpu(there)
    back.rng = np.random.default_rng(0)
    assert back.order().tolist() == expected
