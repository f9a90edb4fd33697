"""How often the drift alarm is wrong in a quiet year, and how soon it finds half as many toxic comments again.

``python -m benchmarks.drift_alarm`` simulates sites whose days the alarm knows nothing of: the log-odds of prevalence
follow an autoregression with a normal or heavy-tailed (t with 5 degrees of freedom) part, plus a weekly pattern drawn
for each site; comments are counted, and the classifier errs as the starter model's card says of ``toxic``.
``--only bound`` says what nobody can do better: an alarm that is told all of it, and the size of the change as well.
docs/EXPERIMENTS.md keeps the tables.
"""

import argparse
from dataclasses import dataclass, replace

import numpy as np
from tqdm import tqdm

from moderation.statistics.alarm import evidence, stabilize
from moderation.statistics.sample import FloatArray, IntArray

PREVALENCE, RECALL, FALSE_POSITIVE_RATE = 0.097, 0.822, 0.019


@dataclass(frozen=True)
class Site:
    """How days differ on a simulated site."""

    correlation: float
    spread: float
    """Stationary standard deviation of the log-odds of prevalence, weekly pattern aside."""
    weekly: float = 0.15
    """Standard deviation of the weekdays' log-odds."""
    comments: int = 10_000
    """A day, on average; weekends have a sixth less than other days."""
    prevalence: float = PREVALENCE
    heavy: bool = False


def simulate(
    rng: np.random.Generator, site: Site, days: int, runs: int, changed: int | None = None, factor: float = 1.5
) -> tuple[IntArray, IntArray, IntArray]:
    """Return days (T,), totals (T,) and predicted positives (T, runs).

    Args:
        rng: Source of randomness.
        site: How its days differ.
        days: T.
        runs: How many sites alike.
        changed: From this day on prevalence is ``factor`` times as high.
        factor: See there.
    """
    numbers = np.arange(days)
    totals = np.round(site.comments * np.where(numbers % 7 < 5, 1.05, 0.875)).astype(np.int64)
    shocks = rng.standard_t(5, (days, runs)) * np.sqrt(3 / 5) if site.heavy else rng.standard_normal((days, runs))
    state = np.empty((days, runs))
    state[0] = shocks[0]
    for day in range(1, days):
        state[day] = site.correlation * state[day - 1] + np.sqrt(1 - site.correlation**2) * shocks[day]
    pattern = site.weekly * rng.standard_normal((7, runs))
    odds = site.prevalence / (1 - site.prevalence) * np.exp(site.spread * state + pattern[numbers % 7])
    share = odds / (1 + odds)
    if changed is not None:
        share[changed:] = np.minimum(share[changed:] * factor, 1)
    predicted = share * RECALL + (1 - share) * FALSE_POSITIVE_RATE
    return numbers, totals, rng.binomial(totals[:, None], predicted)


def measure(rng: np.random.Generator, site: Site, days: int, runs: int, changed: int | None = None) -> FloatArray:
    """Return the evidence (M, runs) on each day after the baseline."""
    numbers, totals, positives = simulate(rng, site, days, runs, changed)
    volume = totals.astype(np.float64)
    return evidence(numbers, volume, stabilize(positives, volume))


def quiet(seed: int, sites: list[Site], years: int) -> None:
    """Print in what share of quiet years the alarm is raised, for one label and at the threshold of six."""
    print("| correlation | spread | comments a day | prevalence | shocks | one label | each of six |")
    print("|---|---|---|---|---|---|---|")
    for site in sites:
        rng = np.random.default_rng(seed)
        parts = [measure(rng, site, 365, 20).max(axis=0) for _ in tqdm(range(years // 20), leave=False)]
        highest = np.concatenate(parts)
        kind = "t" if site.heavy else "normal"
        print(
            f"| {site.correlation} | {site.spread} | {site.comments} | {site.prevalence} | {kind} "
            f"| {(highest >= 20).mean():.1%} | {(highest >= 120).mean():.1%} |",
            flush=True,
        )


def found(seed: int, sites: list[Site], runs: int) -> None:
    """Print in what share of runs the change is found within three days, by the day on which it begins."""
    print("| change on day | correlation | spread | one label | each of six |")
    print("|---|---|---|---|---|")
    for changed in (14, 27, 59, 180):
        for site in sites:
            rng = np.random.default_rng(seed)
            highest = measure(rng, site, changed + 3, runs, changed)[-3:].max(axis=0)
            print(
                f"| {changed + 1} | {site.correlation} | {site.spread} | {(highest >= 20).mean():.1%} "
                f"| {(highest >= 120).mean():.1%} |",
                flush=True,
            )


def bound(seed: int, sites: list[Site], runs: int) -> None:
    """Print in what share of runs an alarm that knows the site and the change finds it within three days."""
    print("| correlation | spread | one label | each of six |")
    print("|---|---|---|---|")
    for site in sites:
        rng = np.random.default_rng(seed)
        quiet_years = [_informed(rng, site, 365, 1_000, None).max(axis=0) for _ in tqdm(range(10), leave=False)]
        limits = np.quantile(np.concatenate(quiet_years), [0.95, 1 - 0.05 / 6])
        last = _informed(rng, site, 63, runs, 60)[-3:].max(axis=0)
        shares = " | ".join(f"{(last >= limit).mean():.1%}" for limit in limits)
        print(f"| {site.correlation} | {site.spread} | {shares} |", flush=True)


def _informed(rng: np.random.Generator, site: Site, days: int, runs: int, changed: int | None) -> FloatArray:
    """Return (days, runs) Shiryaev-Roberts statistics of the log-odds predicted, with everything but the day known.

    Only steps of the last ten days are summed: older ones would have been found.
    """
    predicted = site.prevalence * np.array([1, 1.5])
    predicted = predicted * RECALL + (1 - predicted) * FALSE_POSITIVE_RATE
    level, risen = np.log(predicted / (1 - predicted))
    counting = 1 / (site.comments * predicted[0] * (1 - predicted[0]))
    scale = site.prevalence * (1 - site.prevalence) * (RECALL - FALSE_POSITIVE_RATE) * counting * site.comments
    apart = np.abs(np.subtract.outer(np.arange(days), np.arange(days)))
    factor = np.linalg.cholesky((scale * site.spread) ** 2 * site.correlation**apart + counting * np.eye(days))
    steps = np.linalg.solve(factor, (risen - level) * np.tri(days))
    errors = rng.standard_normal((days, runs))
    if changed is not None:
        errors += steps[:, [changed]]
    found = np.zeros((days, runs))
    for begun in range(days):
        rows = slice(begun, begun + 10)
        step = steps[rows, [begun]]
        found[rows] += np.exp((step * errors[rows] - step**2 / 2).cumsum(axis=0))
    return found


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drift_alarm", description=__doc__)
    parser.add_argument("--years", type=int, default=1000, help="quiet years per row")
    parser.add_argument("--runs", type=int, default=1000, help="changes per row")
    parser.add_argument("--only", choices=("quiet", "found", "bound"), help="one of the tables")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    base = Site(0.7, 0.05)
    if arguments.only in (None, "quiet"):
        sites = [Site(correlation, 0.05) for correlation in (0.0, 0.35, 0.7, 0.8, 0.9)]
        sites += [replace(base, spread=0.0), replace(base, spread=0.3), replace(base, heavy=True)]
        sites += [replace(base, comments=200, prevalence=0.05), replace(base, weekly=0.5)]
        quiet(arguments.seed, sites, arguments.years)
    correlations, spreads = (0.0, 0.35, 0.7), (0.0, 0.03, 0.05, 0.08, 0.1)
    sites = [Site(each, spread) for each in correlations for spread in spreads]
    if arguments.only in (None, "found"):
        found(arguments.seed, sites, arguments.runs)
    if arguments.only in (None, "bound"):
        bound(arguments.seed, sites + [Site(each, 0.15) for each in correlations], arguments.runs)


if __name__ == "__main__":
    main()
