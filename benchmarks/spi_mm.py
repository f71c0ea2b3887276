"""SPI-MM beside the hardware and beside its peers. Prints two tables and writes nothing.

1. Cost of one evaluation in SPI-MM's inner loop against the sparse row products it cannot avoid: two inner
   products with a row and one addition of it, for the same rows in the same order.
2. The convex twin (l2 logistic regression): seconds to two gaps, against scikit-learn and cyanure.

Run with the interpreter of this folder's own environment, see README.md.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numba import njit
from scipy import sparse

from thesislib.spi_mm import kernels
from thesislib.spi_mm.logistic import NonconvexLogistic
from thesislib.spi_mm.minimise import create, lbfgs

LAM = 1e-4
GAPS = (1e-3, 1e-5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rounds", type=int, default=9, help="interleaved repetitions; best and median are shown"
    )
    rounds = parser.parse_args().rounds
    for name, X, y in data():
        print(f"\n{name}: {X.shape[0]} rows, {X.shape[1]} columns, {X.nnz / X.shape[0]:.1f} non-zeros a row")
        per_evaluation(X, y, rounds)
        convex_twin(X, y, rounds)


def data() -> Iterator[tuple[str, sparse.csr_array, np.ndarray]]:
    """a9a and w8a if THESISLIB_DATA is set, else one synthetic set of a9a's shape."""
    if os.environ.get("THESISLIB_DATA"):
        from thesislib.datasets import load_features

        for name in ("a9a", "w8a"):
            X, y = load_features(name)
            yield name, sparse.csr_array(X), y
    else:
        yield "synthetic, like a9a", *categorical()


def categorical(n: int = 32561, seed: int = 0) -> tuple[sparse.csr_array, np.ndarray]:
    """Fourteen one-hot groups with Zipf frequencies, 123 columns; about 24 % positive labels."""
    rng = np.random.default_rng(seed)
    sizes = np.array([5, 8, 5, 16, 5, 7, 14, 6, 5, 2, 2, 2, 5, 41])
    columns, first = [], 0
    for size in sizes:
        p = 1 / np.arange(1, size + 1) ** 1.2
        columns.append(first + rng.choice(size, n, p=p / p.sum()))
        first += size
    indices = np.stack(columns, axis=1).ravel()
    X = sparse.csr_array((np.ones(14 * n), indices, np.arange(0, 14 * n + 1, 14)), shape=(n, sizes.sum()))
    truth = np.zeros(sizes.sum())
    truth[rng.choice(sizes.sum(), 20, replace=False)] = 3 * rng.standard_normal(20)
    score = X @ truth / np.sqrt(14) + rng.logistic(size=n)
    return X, np.where(score > np.quantile(score, 0.76), 1, -1)


@njit(nogil=True, error_model="numpy", fastmath=kernels.FAST["fastmath"])
def bare_products(rows, batches, a, b, out):
    """What an evaluation at two points needs of the data, and nothing else."""
    for t in range(batches.shape[0]):
        for i in batches[t]:
            at_a, at_b = kernels._dot2(rows, i, a, b)
            kernels._add(rows, i, at_a - at_b, out)


def per_evaluation(X, y, rounds: int) -> None:
    problem = NonconvexLogistic(X, y, 0.01)
    run = create(problem, "SPI-MM")
    run.advance(steps=2 * run.q)
    rng, times = np.random.default_rng(1), {"bare": [], "SPI-MM": []}
    one = rng.integers(problem.n, size=(1, 2))
    bare_products(run.model.rows, one, run.theta, run.previous, run.v.copy())  # compile
    for _ in range(3 * rounds):
        run.advance(steps=1)  # the restart is scipy's product, not the inner loop
        before = run.ifo
        times["SPI-MM"].append(clock(lambda: run.advance(steps=run.q - 1)) / (run.q - 1) / run.b / 2)
        assert run.ifo - before == 2 * run.b * (run.q - 1)
        batches = rng.integers(problem.n, size=(run.q - 1, run.b))
        work = partial(
            bare_products, run.model.rows, batches, run.theta.copy(), run.previous.copy(), run.v.copy()
        )
        times["bare"].append(clock(work) / batches.size / 2)
    best = {k: min(v) * 1e9 for k, v in times.items()}
    middle = {k: float(np.median(v)) * 1e9 for k, v in times.items()}
    print(f"  ns an evaluation, best (median) of {3 * rounds}:")
    for name in best:
        ratio = f"{best[name] / best['bare']:.2f} ({middle[name] / middle['bare']:.2f}) times bare"
        print(f"    {name:8s} {best[name]:7.1f} ({middle[name]:7.1f})   {ratio}")


def clock(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def convex_twin(X, y, rounds: int) -> None:
    """Seconds until a solver's result, given all its settings, is within each gap."""
    problem = NonconvexLogistic(X, y, LAM, regulariser="l2")
    optimum = problem.value(lbfgs(problem))
    solvers = peers(problem) | ours(problem)
    for solve in solvers.values():
        solve(1)  # compile, warm up
    found = {(name, gap): [] for name in solvers for gap in GAPS}
    effort = {}
    for name, solve in solvers.items():  # the least effort that reaches the gap; the same in all rounds
        for gap in GAPS:
            effort[name, gap] = least_effort(lambda k, s=solve: problem.value(s(k)) - optimum, gap)
    for _ in range(rounds):
        for (name, gap), k in effort.items():
            if k:
                found[name, gap].append(clock(lambda s=solvers[name], k=k: s(k)))
    print(f"  l2 logistic regression, lambda = {LAM:g}, optimum {optimum:.9f}")
    print(f"  ms to gap, best (median) of {rounds}, @ passes (at most 200)")
    print("    " + f"{'solver':44s}" + "".join(f"{gap:>24g}" for gap in GAPS))
    for name in solvers:
        cells = []
        for gap in GAPS:
            t = np.array(found[name, gap]) * 1e3
            cells.append(
                f"{t.min():9.1f} ({np.median(t):7.1f}) @{effort[name, gap]:<3d}" if t.size else "not reached"
            )
        print("    " + f"{name:44s}" + "".join(f"{cell:>24s}" for cell in cells))
    rival = "scikit-learn saga"
    for name in ours(problem):
        for gap in GAPS:
            if found[name, gap] and found[rival, gap]:
                ratio = min(found[name, gap]) / min(found[rival, gap])
                print(f"    {name} takes {ratio:.2f} times the time of {rival} to {gap:g}")


def least_effort(gap_after: Callable[[int], float], gap: float, limit: int = 200) -> int:
    """Smallest number of passes that reaches `gap`, by doubling and bisection; 0 if none up to `limit`."""
    high = 1
    while gap_after(high) > gap:
        high *= 2
        if high > limit:
            return 0
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if gap_after(middle) <= gap else (middle, high)
    return high


def ours(problem) -> dict[str, Callable[[int], np.ndarray]]:
    def run(method: str, **options) -> Callable[[int], np.ndarray]:
        def solve(passes: int) -> np.ndarray:
            state = create(problem, method, **options)
            state.advance(ifo=passes * problem.n)
            return state.theta

        return solve

    n = problem.n
    small = 16
    return {
        "SPI-MM, theory (b = q = sqrt n, rho = 2 L)": run("SPI-MM"),
        "SPI-MM, rho = L / 2": run("SPI-MM", rho=problem.L / 2),
        f"SPI-MM, b = {small}, q = n / {small}, rho = L": run("SPI-MM", b=small, q=n // small, rho=problem.L),
        "SAGA, step 1/(3 L)": run("SAGA", step=n ** (2 / 3)),
    }


def peers(problem) -> dict[str, Callable[[int], np.ndarray]]:
    from sklearn.linear_model import LogisticRegression

    X, y, n = problem.X, problem.y, problem.n
    int32 = sparse.csr_matrix(X)  # both peers ask for 32-bit indices of a csr_matrix

    def scikit_learn(solver: str) -> Callable[[int], np.ndarray]:
        def solve(iterations: int) -> np.ndarray:
            model = LogisticRegression(
                C=1 / (LAM * n),
                fit_intercept=False,
                solver=solver,
                tol=1e-14,
                max_iter=iterations,
                random_state=0,
            )
            return model.fit(int32, y).coef_[0]

        return solve

    def cyanure(solver: str) -> Callable[[int], np.ndarray]:
        from cyanure.estimators import Classifier

        def solve(epochs: int) -> np.ndarray:
            model = Classifier(
                loss="logistic", penalty="l2", lambda_1=LAM, fit_intercept=False, solver=solver, tol=1e-14,
                max_iter=epochs, duality_gap_interval=10**6, verbose=False, n_threads=1, random_state=0,
            )  # fmt: skip
            return np.ravel(model.fit(int32, y).get_weights())

        return solve

    return {
        "scikit-learn saga": scikit_learn("saga"),
        "scikit-learn lbfgs": scikit_learn("lbfgs"),
        "cyanure miso": cyanure("miso"),
        "cyanure svrg": cyanure("svrg"),
    }


if __name__ == "__main__":
    import warnings

    warnings.filterwarnings("ignore")  # "did not converge": stopping early is the point here
    main()
