"""Feature matrices: known counts and minima, round trips, and each kind of bad input refused."""

import bz2
import gzip
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.datasets import dump_svmlight_file, load_breast_cancer, load_digits

from thesislib.datasets import DatasetError, load_features
from thesislib.datasets.catalogue import known

PACK = {"": bytes, ".bz2": bz2.compress, ".gz": gzip.compress}


def real(name):
    return pytest.mark.skipif(not known(name).present, reason="set THESISLIB_DATA")


def nonconvex_minimum(X, y, weight):
    """Least value L-BFGS finds from zero: logistic loss of unit rows + weight * sum t^2 / (1 + t^2)."""
    norms = np.sqrt(np.asarray(X.multiply(X).sum(1)).ravel() if sparse.issparse(X) else (X**2).sum(1))
    scale = 1 / np.maximum(norms, 1e-300)
    X = sparse.diags(scale) @ X if sparse.issparse(X) else X * scale[:, None]

    def value_and_gradient(t):
        margin = y * (X @ t)
        value = np.logaddexp(0, -margin).mean() + weight * (t**2 / (1 + t**2)).sum()
        return value, -(X.T @ (y * expit(-margin))) / len(y) + weight * 2 * t / (1 + t**2) ** 2

    options = {"maxiter": 5000, "ftol": 1e-16, "gtol": 1e-9}
    return minimize(
        value_and_gradient, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options=options
    ).fun


class TestEmbedded:
    def test_digits(self):
        X, y = load_features("digits")
        assert X.shape == (1797, 64) and X.dtype == float and X.min() == 0 and X.max() == 1
        np.testing.assert_array_equal(X * 16, load_digits().data)
        np.testing.assert_array_equal(y, (-1.0) ** load_digits().target)

    def test_breast_cancer(self):
        X, y = load_features("breast_cancer")
        assert X.shape == (569, 30)
        np.testing.assert_allclose(X.mean(0), 0, atol=1e-12)
        np.testing.assert_allclose(X.std(0), 1, atol=1e-12)
        assert (y == 1).sum() == 357 and (y == -1).sum() == 212
        # Standardising keeps the order of a column's values.
        raw = load_breast_cancer().data
        np.testing.assert_array_equal(X.argmax(0), raw.argmax(0))

    @pytest.mark.parametrize(
        ("name", "weight", "minimum"),
        [
            ("digits", 0.1, 0.6803862079),
            ("digits", 0.01, 0.3492609765),
            ("breast_cancer", 0.1, 0.5586294318),
            ("breast_cancer", 0.01, 0.1242925535),
        ],
    )
    def test_minimum_of_the_chapters_problem(self, name, weight, minimum):
        """Values found by an implementation of its own on data prepared apart from this package."""
        assert nonconvex_minimum(*load_features(name), weight) == pytest.approx(minimum, abs=2e-9)


@pytest.mark.parametrize(
    ("name", "rows", "columns", "nonzeros", "positive", "empty"),
    [
        pytest.param("a9a", 32_561, 123, 451_592, 7_841, 0, marks=real("a9a")),
        pytest.param("a9a.t", 16_281, 123, 225_731, 3_846, 0, marks=real("a9a.t")),
        pytest.param("w8a", 49_749, 300, 579_586, 1_479, 4_203, marks=real("w8a")),
        pytest.param("w8a.t", 14_951, 300, 174_276, 454, None, marks=real("w8a.t")),
        pytest.param("mushrooms", 8_124, 112, 170_604, 4_208, 0, marks=real("mushrooms")),
        pytest.param("phishing", 11_055, 68, 331_650, 6_157, 0, marks=real("phishing")),
        pytest.param("ijcnn1", 49_990, 22, None, 4_853, 0, marks=real("ijcnn1")),
    ],
)
def test_libsvm_files(name, rows, columns, nonzeros, positive, empty):
    X, y = load_features(name)
    assert sparse.issparse(X) and X.format == "csr" and X.shape == (rows, columns)
    assert nonzeros is None or X.count_nonzero() == nonzeros
    assert (y == 1).sum() == positive and (y == -1).sum() == rows - positive
    assert empty is None or (np.diff(X.indptr) == 0).sum() == empty


@real("w8a")
def test_w8a_has_the_known_minimum_and_largest_row():
    X, y = load_features("w8a")
    assert X.multiply(X).sum(1).max() == 114
    assert nonconvex_minimum(X, y, 0.1) == pytest.approx(0.6449475896, abs=2e-9)


def matrices():
    """Random matrices with zeros; the first and last column are never empty, so the text shows the width."""

    def build(args):
        rows, columns, seed = args
        rng = np.random.default_rng(seed)
        X = rng.standard_normal((rows, columns)) * (rng.random((rows, columns)) < 0.4)
        X[rng.integers(rows), 0] = X[rng.integers(rows), -1] = 1.5
        return X, np.where(np.arange(rows) % 3 == 0, 1, 0)

    return st.tuples(st.integers(2, 12), st.integers(1, 9), st.integers(0, 2**32 - 1)).map(build)


class TestOwnFiles:
    @settings(max_examples=40)
    @given(
        matrices(), st.booleans(), st.sampled_from(sorted(PACK)), st.sampled_from([(-1, 1), (0, 1), (1, 2)])
    )
    def test_svmlight_round_trip(self, problem, zero_based, suffix, pair):
        X, positive = problem
        labels = np.where(positive == 1, pair[1], pair[0])
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, f"mine{suffix}")
            plain = Path(folder, "plain")
            dump_svmlight_file(X, labels, str(plain), zero_based=zero_based)
            file.write_bytes(PACK[suffix](plain.read_bytes()))
            found, y = load_features(file)
        assert sparse.issparse(found)
        np.testing.assert_allclose(found.toarray(), X, rtol=1e-14)
        np.testing.assert_array_equal(y, np.where(positive == 1, 1, -1))

    @settings(max_examples=25)
    @given(matrices())
    def test_npz_round_trip(self, problem):
        X, y = problem
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "mine.npz")
            np.savez(file, X=X, y=y)
            found, signs = load_features(file)
        np.testing.assert_array_equal(found, X)
        np.testing.assert_array_equal(signs, 2 * y - 1)

    @settings(max_examples=100)
    @given(st.sampled_from([".bz2", ".gz"]), st.data())
    def test_a_damaged_file_is_refused_or_reads_the_same(self, suffix, data):
        text = b"".join(b"%d 1:%d 3:0.25\n" % (1 if k % 2 else -1, k + 1) for k in range(40))
        content = bytearray(PACK[suffix](text))
        place = data.draw(st.integers(0, len(content) - 1))
        if data.draw(st.booleans()):
            content = content[:place]
        else:
            content[place] ^= data.draw(st.integers(1, 255))
        with tempfile.TemporaryDirectory() as folder:
            file, good = Path(folder, f"mine{suffix}"), Path(folder, "good")
            file.write_bytes(content)
            good.write_bytes(text)
            try:
                X, y = load_features(file)
            except DatasetError:
                return
            expected = load_features(good)
            np.testing.assert_array_equal(X.toarray(), expected[0].toarray())
            np.testing.assert_array_equal(y, expected[1])

    def test_any_file_under_libsvm_goes_by_its_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
        (tmp_path / "libsvm").mkdir()
        (tmp_path / "libsvm" / "mine.bz2").write_bytes(bz2.compress(b"1 2:3\n2 1:4\n"))
        X, y = load_features("mine")
        assert X.toarray().tolist() == [[0, 3], [4, 0]] and y.tolist() == [-1, 1]

    def test_a_short_copy_of_a_known_file_is_refused(self, tmp_path, monkeypatch):
        monkeypatch.setenv("THESISLIB_DATA", str(tmp_path))
        (tmp_path / "libsvm").mkdir()
        (tmp_path / "libsvm" / "a9a").write_bytes(b"-1 3:1 123:1\n+1 1:1\n")
        with pytest.raises(DatasetError, match="a9a holds 2 rows, expected 32561; the file is cut short"):
            load_features("a9a")
        (tmp_path / "libsvm" / "a9a").write_bytes(b"-1 3:1 124:1\n+1 1:1\n")
        with pytest.raises(DatasetError, match="damaged or not LIBSVM's format"):
            load_features("a9a")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (b"", "holds 0 rows"),
            (b"+1\n-1\n", "holds 2 rows and not one feature"),
            (b"+1 1000000000:2\n-1 1:1\n", "a feature of index 1,000,000,000; up to 134,217,728 are read"),
            (b"+1 1:2\n-1 1:nan\n", "1 features are NaN or infinite"),
            (b"+1 1:inf 2:-inf\n-1 1:1\n", "2 features are NaN or infinite"),
            (b"+1 1:2\n+1 1:3\n", r"has the labels 1\.0; expected both of -1 and 1"),
            (b"1 1:2\n2 1:3\n3 1:1\n", r"has the labels 1\.0, 2\.0, 3\.0;"),
            (b"nan 1:2\n1 1:3\n", "has the labels 1.0, nan;"),
            (b"+1 2:1 1:1\n-1 1:1\n", "sorted and unique"),
            (b"sepal,petal\n1,2\n", "not LIBSVM's format"),
            (b"+1 1:x\n-1 1:1\n", "not LIBSVM's format"),
            (b"\x89PNG\r\n\x1a\n\xff\xfe", "not LIBSVM's format"),
        ],
    )
    def test_bad_text_is_refused(self, tmp_path, text, message):
        (tmp_path / "mine").write_bytes(text)
        with pytest.raises(DatasetError, match=message):
            load_features(tmp_path / "mine")

    @pytest.mark.parametrize(
        ("arrays", "message"),
        [
            ({"X": np.eye(2)}, "lacks y; it holds X"),
            ({"X": np.arange(2), "y": [0, 1]}, r"X is int64 of shape \(2,\), expected numbers"),
            ({"X": [["a"], ["b"]], "y": [0, 1]}, "X is <U1"),
            ({"X": np.eye(2), "y": [0, 1, 1]}, r"y has shape \(3,\), expected \(2,\)"),
            ({"X": np.eye(2), "y": [0, 5]}, "has the labels 0, 5;"),
            ({"X": np.eye(2), "y": ["a", "b"]}, "has the labels a, b;"),
            ({"X": np.eye(2), "y": [True, False]}, None),
            ({"X": np.eye(7), "y": np.arange(7)}, r"has the labels 0, 1, 2, 3, 4, \.\.\.;"),
            ({"X": [[1.0, np.nan]] * 2, "y": [0, 1]}, "2 features are NaN"),
            ({"X": np.empty((0, 3)), "y": np.empty(0)}, "holds 0 rows"),
        ],
    )
    def test_bad_archives_are_refused(self, tmp_path, arrays, message):
        np.savez(tmp_path / "mine.npz", **arrays)
        if message is None:
            assert load_features(tmp_path / "mine.npz")[1].tolist() == [1, -1]
            return
        with pytest.raises(DatasetError, match=message):
            load_features(tmp_path / "mine.npz")

    def test_a_folder_is_refused(self, tmp_path):
        with pytest.raises(DatasetError, match="is a folder; features come as one file"):
            load_features(tmp_path)
