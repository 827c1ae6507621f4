"""Metrics: numbers by hand and of scikit-learn, on both devices, and what is refused."""

import sys

import numpy as np
import pytest
from sklearn import metrics as sklearn

import tinyflux as flux
from tests.support import device_standin as standin
from tests.test_messages import FRAME, TENSOR, check, table
from tinyflux import metrics

# Six samples of three classes; guessed are 0, 1, 1, 2, 0, 1.
SCORES = np.array(
    [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.4, 0.3], [0.0, 0.1, 0.9], [0.5, 0.1, 0.4], [0.2, 0.6, 0.3]], np.float32
)
LABELS = np.array([0, 1, 0, 2, 2, 2])
ALL = [metrics.accuracy, metrics.topk_accuracy, metrics.confusion_matrix, metrics.f1]


def drawn(samples, classes, seed=0):
    """Scores, with ties, and labels of which some never come."""
    rng = np.random.default_rng(seed)
    return rng.integers(4, size=(samples, classes)) / 4, rng.integers(classes - 1, size=samples)


def test_accuracy_by_hand():
    assert flux.accuracy(SCORES, LABELS) == 3 / 6
    assert flux.accuracy is metrics.accuracy
    assert type(flux.accuracy(SCORES, LABELS)) is float
    assert flux.accuracy(SCORES[0], np.array(0)) == 1.0
    assert flux.accuracy(np.zeros((4, 3)), np.array([0, 1, 2, 0])) == 0.5  # the first of those that tie


def test_topk_accuracy_by_hand():
    """The ranks of the labels are 1, 1, 2, 1, 2, 2; in rows of zeros the number of the class decides."""
    assert [metrics.topk_accuracy(SCORES, LABELS, k) for k in (1, 2, 3)] == [3 / 6, 6 / 6, 1]
    tied = np.zeros((4, 6)), np.array([0, 2, 4, 5])
    assert [metrics.topk_accuracy(*tied, k) for k in (1, 3, 5)] == [1 / 4, 2 / 4, 3 / 4]
    assert metrics.topk_accuracy(*tied) == 3 / 4


def test_confusion_and_f1_by_hand():
    """Class 0: TP 1, FP 1, FN 1. Class 1: TP 1, FP 2, FN 0. Class 2: TP 1, FP 0, FN 2."""
    np.testing.assert_array_equal(metrics.confusion_matrix(SCORES, LABELS), [[1, 1, 0], [0, 1, 0], [1, 1, 1]])
    assert metrics.f1(SCORES, LABELS) == pytest.approx((2 / 4 + 2 / 4 + 2 / 4) / 3, rel=1e-15)
    wider = np.concatenate([SCORES, np.zeros_like(SCORES)], axis=1)  # three classes that nobody speaks of
    assert metrics.f1(wider, LABELS) == metrics.f1(SCORES, LABELS)


@pytest.mark.parametrize("classes", [2, 5, 40])
def test_numbers_of_scikit_learn(classes):
    scores, labels = drawn(200, classes)
    guesses, every = scores.argmax(axis=1), range(classes)
    assert metrics.accuracy(scores, labels) == pytest.approx(sklearn.accuracy_score(labels, guesses), rel=1e-14)
    assert metrics.f1(scores, labels) == pytest.approx(sklearn.f1_score(labels, guesses, average="macro"), rel=1e-12)
    expected = sklearn.confusion_matrix(labels, guesses, labels=every)
    np.testing.assert_array_equal(metrics.confusion_matrix(scores, labels), expected)
    if classes > 2:  # which scikit-learn takes one column for; it has no word for ties
        scores = np.random.default_rng(1).normal(size=scores.shape)
        expected = sklearn.top_k_accuracy_score(labels, scores, k=3, labels=every)
        assert metrics.topk_accuracy(scores, labels, 3) == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("labels", [[1, 0, 1, 1], [0.0, 1.0, 1.0, 0.0], [False] * 4])
def test_one_logit_a_sample_in_a_line(labels):
    """The scores would be those of one sample, of which the first label was taken."""
    scores, labels = np.array([0.9, -1.0, 3.0, -0.5]), np.array(labels)
    with pytest.raises(ValueError, match=r"For one logit a sample give np\.stack\(\[-scores, scores\], axis=-1\)"):
        flux.accuracy(scores, labels)
    remedy = flux.accuracy(np.stack([-scores, scores], axis=-1), labels.astype(int))
    assert remedy == np.mean((scores > 0) == labels)


def test_one_sample_with_a_one_hot_row():
    assert flux.accuracy(SCORES[0], np.eye(SCORES.shape[1])[SCORES[0].argmax()]) == 1
    assert flux.accuracy(SCORES[0], np.full(SCORES.shape[1], 1 / SCORES.shape[1], np.float32)) in (0, 1)


def test_best_of_one_is_the_accuracy():
    scores, labels = drawn(500, 4)
    assert metrics.topk_accuracy(scores, labels, 1) == metrics.accuracy(scores, labels)
    assert metrics.accuracy(scores, labels) == np.mean(scores.argmax(axis=1) == labels)


@pytest.mark.parametrize("metric", ALL, ids=lambda f: f.__name__)
def test_forms_of_labels_and_axes(metric):
    scores, labels = drawn(24, 6)
    expected = metric(scores, labels)
    for other in (np.uint8, np.int32, np.uint64):
        np.testing.assert_array_equal(metric(scores, labels.astype(other)), expected)
    rows = flux.onehotbatch(labels, range(6))
    for other in (rows, rows.astype(bool), 0.9 * rows + 0.01):
        np.testing.assert_array_equal(metric(scores, other), expected)
    sequences = scores.reshape(4, 6, 6)
    np.testing.assert_array_equal(metric(sequences, labels.reshape(4, 6)), expected)
    np.testing.assert_array_equal(metric(sequences, rows.reshape(4, 6, 6)), expected)


def test_a_row_with_nan_is_wrong():
    scores = np.array([[np.nan, 1.0], [1.0, np.nan], [1.0, 0.0], [np.nan, np.nan]])
    assert metrics.accuracy(scores, np.array([0, 0, 0, 0])) == 1 / 4
    assert metrics.accuracy(scores, np.array([1, 1, 0, 1])) == 1 / 4
    for labels in (np.array([0, 0, 0, 0]), np.array([0, 1, 0, 0])):  # of the class whose score is NaN, too
        assert metrics.confusion_matrix(scores, labels).tolist() == [[1, 0], [0, 0]]
    assert metrics.f1(scores, np.array([0, 0, 0, 0])) == 2 * 1 / (2 * 1 + 0 + 3)
    assert metrics.f1(scores, np.array([0, 1, 0, 0])) == (2 / (2 + 2) + 0) / 2
    assert metrics.f1(np.full((3, 2), np.nan), np.array([0, 0, 0])) == 0.0


@pytest.mark.parametrize("metric", ALL, ids=lambda f: f.__name__)
def test_inside_a_gradient(metric):
    """Beside a loss, as withgradient takes it; the gradient is that of the loss alone."""
    rows = np.eye(6, 5), np.arange(6) % 5
    (_, value), g = flux.withgradient(lambda s: (np.sum(s**2), metric(s, rows[1])), rows[0])
    np.testing.assert_array_equal(value, metric(*rows))
    np.testing.assert_array_equal(g, 2 * rows[0])


@pytest.mark.parametrize("metric", ALL, ids=lambda f: f.__name__)
def test_on_the_gpu(metric, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", standin.cupy_module())
    scores, labels = drawn(24, 6)
    rows = flux.onehotbatch(labels, range(6))
    expected = metric(scores, labels)
    for other in (labels, rows, labels.astype(np.uint8)):
        got = metric(standin.asarray(scores), standin.asarray(other))
        assert type(got) is (standin.DeviceArray if isinstance(expected, np.ndarray) else float)
        np.testing.assert_array_equal(flux.cpu(got) if isinstance(expected, np.ndarray) else got, expected)
    with pytest.raises(flux.MixedDevices, match=r"the scores lie on the GPU, the labels in NumPy.*flux\.gpu"):
        metric(standin.asarray(scores), labels)


@table(
    (lambda: flux.accuracy([[0.1]], LABELS), TypeError, "accuracy: expected arrays as scores and labels, got a list."),
    (lambda: flux.accuracy(SCORES, [0, 1]), TypeError, "got a list. Give np.array(x)."),
    (lambda: flux.accuracy(TENSOR, LABELS), TypeError, "got a torch tensor of shape (4, 2). Give an array of NumPy's"),
    (lambda: flux.accuracy(SCORES, FRAME), TypeError, "DataFrame of shape (4, 2). Give an array of NumPy's, x.to_num"),
    (lambda: flux.accuracy(flux.Dense(2, 3), LABELS), TypeError, "got a Dense. Give what the model returns, model(x)."),
    (lambda: metrics.f1(SCORES, LABELS.astype(str)), TypeError, "f1: expected numbers as scores and labels, got float"),
    (
        lambda: flux.accuracy(SCORES, LABELS * 1.0),
        TypeError,
        "class numbers to be integers, got float64. Give labels.a",
    ),
    (lambda: flux.accuracy(SCORES, LABELS[:5]), ValueError, "labels of shape (6,), class numbers, or (6, 3), one-hot"),
    (lambda: flux.accuracy(SCORES, LABELS[:, None]), ValueError, "got (6, 1). Nothing is broadcast: labels.ravel()"),
    (lambda: flux.accuracy(LABELS, LABELS[0]), TypeError, "expected arrays as scores and labels, got np.int64(0)"),
    (
        lambda: flux.accuracy(SCORES[:, :1], LABELS),
        ValueError,
        "at least two classes along the last axis, got shape (6,",
    ),
    (lambda: flux.accuracy(np.array(1.0), np.array(1)), ValueError, "at least two classes along the last axis, got sh"),
    (
        lambda: flux.accuracy(SCORES[:0], LABELS[:0]),
        ValueError,
        "expected at least one sample, got scores of shape (0, ",
    ),
    (lambda: flux.accuracy(SCORES, LABELS + 1), ValueError, "class numbers from 0 to 2, got numbers from 1 to 3. Give"),
    (
        lambda: flux.accuracy(SCORES, LABELS - 1),
        ValueError,
        "class numbers from 0 to 2, got numbers from -1 to 1. Give",
    ),
    (lambda: metrics.confusion_matrix(SCORES, LABELS + 1), ValueError, "confusion_matrix: expected class numbers from"),
    (lambda: metrics.topk_accuracy(SCORES, LABELS), ValueError, "topk_accuracy: expected k to be at most the 3 classe"),
    (lambda: metrics.topk_accuracy(SCORES, LABELS, 0), ValueError, "expected k to be an integer, at least 1, got 0."),
    (lambda: metrics.topk_accuracy(SCORES, LABELS, 1.0), TypeError, "expected k to be an integer, at least 1, got 1.0"),
)
def test_refused(typed, error, said):
    check(typed, error, said)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("masked", [0, 1])
def test_masked_arrays_are_refused(metric, masked):
    given = [SCORES, LABELS]
    given[masked] = np.ma.array(given[masked], mask=given[masked] == 0)
    with pytest.raises(
        TypeError, match=rf"{metric.__name__}: expected NumPy's plain arrays, got a MaskedArray\. Leave"
    ):
        metric(*given)
    with pytest.raises(TypeError, match=r"got a matrix\. Give np\.asarray\(x\)\."):
        metric(SCORES.view(np.matrix), LABELS)


@pytest.mark.parametrize("metric", ALL)
@pytest.mark.parametrize("shape", [(6,), (2, 3)], ids=str)
def test_class_numbers_in_the_place_of_scores_are_refused(metric, shape):
    """A row of them reads as one sample's scores, and images of them, (N, H, W), as rows of W classes."""
    guessed = LABELS.reshape(shape)
    fix = "Give the model's scores, or for class numbers one-hot rows, flux.onehotbatch(pred, classes)"
    said = f"{metric.__name__}: expected scores (…, K), got class numbers {shape}. {fix}"
    check(lambda: metric(guessed, guessed), TypeError, said)
    check(lambda: metric(guessed > 0, guessed), TypeError, said)


def test_whole_numbers_may_be_scores():
    votes = np.array([[3, 0, 1], [0, 1, 3]])
    assert flux.accuracy(votes, np.eye(3, dtype=int)[[0, 1]]) == flux.accuracy(votes, np.array([0, 1])) == 1 / 2
    assert flux.accuracy(votes[0], np.array(0)) == 1


def test_one_hot_rows_of_another_height():
    """0 and 255, as images have them, are one-hot too; rows that are all 0 are class numbers of a background."""
    votes, labels = np.array([[3, 0, 1], [0, 1, 3]]), np.array([[255, 0, 0], [0, 255, 0]], np.uint8)
    assert flux.accuracy(votes, labels) == flux.accuracy(votes, np.array([0, 1])) == 1 / 2
    labels[1] = 0
    with pytest.raises(TypeError, match="got class numbers"):
        flux.accuracy(votes, labels)


def test_one_sample_of_whole_scores():
    votes, label = np.array([3, 0, 1]), np.array([1, 0, 0])
    with pytest.raises(TypeError, match="got class numbers"):
        flux.accuracy(votes, label)
    assert flux.accuracy(votes[None], label[None]) == 1


def test_rounded_labels_of_one_sample_in_a_line():
    assert flux.accuracy(np.eye(3)[0], np.array([0.3335, 0.333, 0.333])) == 1
