"""The back-test page: what other thresholds or another version would have decided on logged traffic."""

from datetime import datetime

import streamlit as st
from sqlalchemy import Engine

from apps.monitor.components import backtest as parts
from apps.monitor.services import backtest, candidate
from apps.monitor.services.backtest import Replay
from apps.monitor.services.candidate import Candidate
from apps.monitor.services.lineage import versions
from apps.monitor.views.guard import guarded
from apps.ui.colors import short_version
from apps.ui.page import head
from apps.ui.table import show_table
from moderation import clock
from moderation.db.log import VersionRecord
from moderation.errors import InvalidInputError
from moderation.jobs.queue import MAX_SAMPLE, Job, cancel, jobs, request_backtest
from moderation.review.access import Session
from moderation.review.history import newest_entry

_POLL_S = 3
_OPEN = ("waiting", "running")


@guarded
def backtest_view(engine: Engine, session: Session, reader: Engine) -> None:
    """Let who looks move thresholds on what ``reader`` reads, or ask for a candidate's scores."""
    head("Back-test", "What other thresholds, or another version, would have decided on logged traffic.")
    name = st.segmented_control("Look back", list(parts.RANGES), default="4 weeks", required=True, key="back_range")
    # Only what is looked at is computed.
    own, other = st.tabs(["Other thresholds", "Another version"], on_change="rerun", key="back_tab")
    with own:
        if own.open:
            _thresholds(reader, session, name)
    with other:
        if other.open:
            if session.role == "viewer":
                st.caption("Reviewers and admins can ask for a candidate's scores.")
            else:
                _ask(engine, session, name)
            found = jobs(engine, session, clock.now())
            running = any(job.state in _OPEN for job in found)
            st.fragment(_jobs, run_every=_POLL_S if running else None)(engine, session, [found])
            _results(engine, session, found)


def _thresholds(engine: Engine, session: Session, name: str) -> None:
    now, length = clock.now(), parts.RANGES[name]
    records = backtest.versions_with_samples(engine, session, length, now)
    if not records:
        st.info(
            "No prediction was drawn in this range. `moderation worker` draws a sample of each day an hour after its "
            "end; thresholds are tried on its scores, labelled or not.",
            icon=":material/hourglass_empty:",
        )
        return
    record = st.selectbox("Version", records, format_func=_called, key="back_version")
    replay = backtest.read(engine, session, record, length, now)
    if replay is None:
        st.info("Nothing of this version was drawn in this range.")
        return
    _show(replay, record.version)


def _show(replay: Replay, of: str) -> None:
    chosen = parts.choose_thresholds(replay, of)
    st.button("Back to the version's own thresholds", on_click=parts.put_on_sliders, args=(of, replay.thresholds))
    parts.offer_solver(replay, of, chosen)
    parts.show_outcome(replay, backtest.outcome(replay, chosen), backtest.logged_outcome(replay))
    parts.show_figures(replay, chosen)


def _ask(engine: Engine, session: Session, name: str) -> None:
    records = list(versions(engine, session, clock.now()).records.values())
    if not records:
        st.info("No version is recorded yet: the API records what it serves, `moderation gate` what it judges.")
        return
    with st.form("candidate"):
        record = st.selectbox("Candidate", records, format_func=_called, key="candidate_version")
        size = st.number_input("Texts to score", 100, MAX_SAMPLE, 2_000, step=100, key="sample_size")
        st.caption(
            f"Drawn at random from the last {name}; `moderation worker` scores them, and all that was drawn for "
            "review, for precision and recall."
        )
        if st.form_submit_button("Ask for it", icon=":material/send:"):
            now = clock.now()
            request_backtest(engine, session, record.version, (now - parts.RANGES[name], now), int(size), now)
            st.toast("Asked. It begins when a worker is free.")


@guarded
def _jobs(engine: Engine, session: Session, just_read: list[list[Job]]) -> None:
    """List the jobs: those that the page has ``just_read``, later, when this runs alone, as they are then."""
    found = just_read.pop() if just_read else jobs(engine, session, clock.now())
    if not found:
        st.caption("No candidate was asked for yet.")
        return
    columns = {
        "Asked at (UTC)": st.column_config.DatetimeColumn(format="YYYY-MM-DD HH:mm"),
        "Scored": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
    }
    show_table(backtest.jobs_frame(found), "back-test-jobs", columns)
    mine = [job for job in found if session.role == "admin" or job.created_by == session.reviewer]
    _offer_cancel(engine, session, [job for job in mine if job.state in _OPEN])
    done = [job.id for job in found if job.state == "done"]
    if len(done) > len(st.session_state.setdefault("jobs_done", done)):
        st.session_state["jobs_done"] = done
        st.rerun()  # the whole page: there is a result to choose


def _offer_cancel(engine: Engine, session: Session, open_jobs: list[Job]) -> None:
    for job in open_jobs:
        called = f"Cancel {short_version(job.arguments['version'])}, {job.created_at:%Y-%m-%d %H:%M:%S} UTC"
        if st.button(called, icon=":material/cancel:", key=f"cancel-{job.id}"):
            try:
                cancel(engine, session, job.id, clock.now())
            except InvalidInputError as error:  # over in the meantime
                st.toast(str(error), icon=":material/info:")
                continue
            st.rerun()


def _results(engine: Engine, session: Session, found: list[Job]) -> None:
    now = clock.now()
    done = [job for job in found if job.state == "done"]
    if not done:
        st.button("Look for results", icon=":material/refresh:", key="look_for_results")
        return
    called = {job.id: f"{short_version(job.arguments['version'])}, {job.created_at:%Y-%m-%d %H:%M} UTC" for job in done}
    chosen = st.selectbox("Result of", done, format_func=lambda job: called[job.id], key="result")
    result = _candidate(f"{newest_entry(engine, session, now)} {chosen.id} {chosen.done}", engine, session, chosen, now)
    if result is None:
        st.info("Nothing to compare: no text was scored, or the candidate's thresholds are not recorded.")
        return
    parts.show_basis(result)
    _show(result.replay, chosen.id)


# Reading takes longer than a moved threshold may; of two who write at once, one may come later and be older.
@st.cache_resource(max_entries=8, ttl=60, show_spinner="Reading")
def _candidate(data: str, _engine: Engine, _session: Session, _job: Job, _now: datetime) -> Candidate | None:  # noqa: ARG001 - it is the cache's key
    return candidate.read(_engine, _session, _job, _now)


def _called(record: VersionRecord) -> str:
    return f"{record.name} {short_version(record.version)}"
