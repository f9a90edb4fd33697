"""The parts of the back-test page."""

from collections.abc import Mapping
from datetime import timedelta
from typing import cast

import streamlit as st

from apps.monitor.components.intervals import intervals_chart, number_columns, show_refusals
from apps.monitor.services import backtest
from apps.monitor.services.backtest import NEVER, REPLAYED, Outcome, Replay, Thresholds
from apps.monitor.services.candidate import Candidate
from apps.monitor.services.estimates import FIGURES
from apps.ui.colors import label_words
from apps.ui.table import offer_csv, show_table
from moderation.errors import InvalidInputError
from moderation.policy import LabelThresholds
from moderation.statistics.sample import Estimate

RANGES = {"1 week": timedelta(days=7), "4 weeks": timedelta(days=28), "12 weeks": timedelta(days=84)}


def choose_thresholds(replay: Replay, of: str) -> dict[str, LabelThresholds]:
    """Return the thresholds on the sliders, two per label; ``of`` is a version or a job, which has its own."""
    # A slider that is to stand elsewhere is a new one: its place cannot be both a default and set from here.
    turn, start = st.session_state.get(_key(of), (0, replay.thresholds))
    chosen = {}
    left, right = st.columns(2, gap="large")
    for place, label in enumerate(replay.labels):
        current = replay.thresholds[label]
        with left if place % 2 == 0 else right:
            review, remove = cast(
                tuple[float, float],
                st.select_slider(
                    f"{label_words(label)}: review from, remove from",
                    backtest.steps(current),
                    value=_pair(start[label]),
                    key=f"threshold-{label}-{of}-{turn}",
                    format_func=_written,
                ),
            )
        chosen[label] = LabelThresholds(_limit(review), _limit(remove))
    return chosen


def offer_solver(replay: Replay, of: str, chosen: Thresholds) -> None:
    """Let the reader state a budget, and put the thresholds that keep to it on the sliders."""
    with st.expander("Find thresholds for a budget", icon=":material/target:"), st.form("solver", border=False):
        budget = st.radio(
            "Budget", ["Reviews a day", "False positives (%)"], horizontal=True, key="budget",
            help="Reviews: all labels' review thresholds move together, by the same factor of their odds. False "
            "positives: each label by itself, and who is negative is taken from the calibrated scores; what reviews "
            "say of it stands below. Removal thresholds stay. The budget is kept on the sample: see the interval.",
        )  # fmt: skip
        most = st.number_input("At most", min_value=0.0, value=200.0, key="most")
        if st.form_submit_button("Find"):
            st.session_state["solver_problem"] = _solve(replay, of, chosen, budget, most)
            st.rerun()
    if problem := st.session_state.pop("solver_problem", None):
        st.warning(problem, icon=":material/warning:")


def put_on_sliders(of: str, thresholds: Mapping[str, LabelThresholds]) -> None:
    """Put ``thresholds`` on the sliders in the next run."""
    turn, _ = st.session_state.get(_key(of), (0, None))
    st.session_state[_key(of)] = turn + 1, thresholds


def show_outcome(replay: Replay, found: Outcome, before: Outcome) -> None:
    """Show what would change, per day."""
    more_reviews = found.reviews_per_day.value - before.reviews_per_day.value
    with st.container(horizontal=True):
        st.metric(
            "Decisions that change",
            f"{100 * found.changed.value:.2f} %",
            border=True,
            help=_between(found.changed, 100, " %"),
        )
        st.metric(
            "Reviews a day",
            f"{found.reviews_per_day.value:,.0f}",
            f"{round(more_reviews):+,}",
            delta_color="inverse" if round(more_reviews) else "off",
            border=True,
        )
        st.metric(
            "Removals a day",
            f"{found.removals_per_day.value:,.0f}",
            f"{found.removals_per_day.value - before.removals_per_day.value:+,.0f}",
            delta_color="off",
            border=True,
        )
    st.caption(
        f"95 % intervals: reviews {_between(found.reviews_per_day)} a day, removals {_between(found.removals_per_day)} "
        f"a day, changed {_between(found.changed, 100, ' %', 2)}; from {len(replay.scores):,} drawn predictions that "
        f"stand for {replay.per_day:,.0f} a day, texts that are not stored taken to be like them."
    )
    frame = backtest.changes_frame(found.transitions, replay.per_day)
    st.dataframe(
        frame, hide_index=True, column_config={"predictions a day": st.column_config.NumberColumn(format="%.1f")},
        alt="Decisions that change",
    )  # fmt: skip
    offer_csv(frame, "changed-decisions")


def show_figures(replay: Replay, chosen: Thresholds) -> None:
    """Show precision, recall and false positives, as they were and as they would be."""
    of, known = st.session_state.get("back_test_figures", (None, {}))
    known = known if of == replay.fingerprint else {}
    st.session_state["back_test_figures"] = replay.fingerprint, known
    frame = backtest.figures_frame(replay, chosen, known)
    figure = st.segmented_control(
        "Figure", REPLAYED, format_func=FIGURES.__getitem__, default="recall", required=True, key="back_figure"
    )
    rows = frame[frame["figure"] == figure]
    title = f"{FIGURES[figure]} per label, with 95 % intervals"
    st.altair_chart(intervals_chart(rows, "label", title, FIGURES[figure], by="thresholds"), alt=title)
    show_refusals(rows[rows["thresholds"].isin(("then", "candidate"))], "label")
    show_table(frame.replace({"figure": FIGURES}), "back-test", number_columns())


def show_basis(found: Candidate) -> None:
    """Say what the candidate's figures rest on, and what it could not read."""
    st.caption(
        f"Decisions and volumes: {found.compared:,} texts drawn at random, {found.missing:,} more were erased before "
        f"they were scored. Precision and recall: {found.items - found.unscored:,} of {found.items:,} texts drawn for "
        f"review; {found.unscored:,} could not be scored, because they were erased or drawn later than the job began."
    )


def _solve(replay: Replay, of: str, chosen: Thresholds, budget: str, most: float) -> str | None:
    """Put the answer on the sliders; return why there is none."""
    try:
        if budget == "Reviews a day":
            found = backtest.for_reviews(replay, chosen, most)
        else:
            found = backtest.for_false_positives(replay, chosen, most / 100)
    except InvalidInputError as error:
        return str(error)
    put_on_sliders(of, found)
    return None


def _key(of: str) -> str:
    return f"thresholds-{of}"


def _pair(each: LabelThresholds) -> tuple[float, float]:
    return tuple(NEVER if limit is None else limit for limit in (each.review, each.remove))  # type: ignore[return-value]


def _limit(chosen: float) -> float | None:
    return None if chosen == NEVER else chosen


def _written(threshold: float) -> str:
    return "never" if threshold == NEVER else f"{threshold:.4g}"


def _between(found: Estimate, by: float = 1, unit: str = "", digits: int = 0) -> str:
    return f"{by * found.low:,.{digits}f}{unit} to {by * found.high:,.{digits}f}{unit}"
