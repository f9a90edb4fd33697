"""The progress bar of a job, and the loop that moves it."""

import streamlit as st

from apps.moderator.services.job import ScoringJob
from moderation.client import ModerationClient


class JobProgress:
    """A bar at its place on the page; `carry_on` is called when the rest of the page stands."""

    def __init__(self, job: ScoringJob) -> None:
        """Draw the bar as far as ``job`` is."""
        self._job = job
        self._place = st.empty()
        self._draw()

    def carry_on(self, client: ModerationClient) -> None:
        """Score batch after batch while the bar moves, then draw the page again with the results."""
        while self._job.running:
            self._job.step(client)
            self._draw()
        st.rerun()

    def _draw(self) -> None:
        job = self._job
        finished = job.finished
        words = f"{finished:,} of {job.total:,} rows"
        if job.running and job.left_s is not None:
            words += f", about {_duration(job.left_s)} left"
        if job.done:
            self._place.empty()
        else:
            self._place.progress(finished / job.total, text=words)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
