"""One reviewer's work at the queue: the item at hand, what is chosen for it, and what the model had said of the last.

Knows no Streamlit. A choice is stored as a draft at once; while that fails it is kept here and stored later.
"""

from dataclasses import dataclass
from random import Random, SystemRandom

from sqlalchemy import Engine

from apps.monitor.services.database import explain
from apps.ui.problem import Problem
from moderation import clock
from moderation.errors import ForbiddenError, InvalidInputError, ModerationError, NotFoundError, UnauthorizedError
from moderation.labels import LABELS
from moderation.review import queue
from moderation.review.access import Session
from moderation.review.history import QueueCounts, queue_counts
from moderation.review.people import verdicts_since
from moderation.review.policy import ReviewPolicy
from moderation.review.queue import Outcome, Revealed, Task

SIGNED_OUT = (UnauthorizedError, ForbiddenError)


@dataclass(frozen=True)
class LastReview:
    """The verdict given last, and what the model had said of the text."""

    text: str
    outcome: Outcome
    chosen: tuple[str, ...]
    revealed: Revealed


@dataclass(frozen=True)
class Progress:
    """How far the queue is, and how many verdicts this reviewer gave since midnight (UTC)."""

    counts: QueueCounts
    today: int


class ReviewDesk:
    """Where one reviewer sits; ``adjudicates`` decides between others instead of labelling blind."""

    def __init__(self, session: Session, policy: ReviewPolicy, adjudicates: bool, chance: Random | None = None) -> None:
        """Sit down with nothing at hand; `look` takes the first item."""
        self.session = session
        self.adjudicates = adjudicates
        self.task: Task | None = None
        self.chosen: set[str] = set()
        self.last: LastReview | None = None
        self.progress: Progress | None = None
        self.problem: Problem | None = None
        self._policy = policy
        self._chance = chance or SystemRandom()
        self._unsaved = False

    def look(self, engine: Engine) -> None:
        """Make sure that there is an item at hand if any waits, that it is still leased, and that the draft is stored.

        Raises:
            UnauthorizedError, ForbiddenError: the session has ended, or may not review.
            UnavailableError: the database went away.
        """
        now = clock.now()
        if self.task is not None and self._unsaved:
            self._save(engine)
        if self.task is None or now >= self.task.leased_until:
            task = queue.next_item(engine, self.session, self._policy, now, self.adjudicates, self._chance)
            if task is not None and (self.task is None or task.review_id != self.task.review_id):
                self.chosen = {label for label, fits in task.draft.items() if fits}
            self.task = task
            self.progress = None
        if self.progress is None:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
            today = verdicts_since(engine, self.session, midnight, now)
            self.progress = Progress(queue_counts(engine, self.session, now), today)

    def toggle(self, engine: Engine, review_id: str, label: str) -> None:
        """Choose a label or take it back, and store the draft; nothing if another item is at hand by now."""
        if self.task is None or self.task.review_id != review_id:
            return
        self.problem = None
        self.chosen ^= {label}
        self._unsaved = True
        try:
            self._save(engine)
        except ModerationError as error:
            self._note(error)

    def submit(self, engine: Engine, review_id: str, outcome: Outcome) -> None:
        """Give the verdict on the item at hand; nothing if it is another one by now, as after a double click."""
        if self.task is None or self.task.review_id != review_id:
            return
        self.problem = None
        labels = {label: label in self.chosen for label in LABELS} if outcome == "labels" else None
        now = clock.now()
        try:
            queue.submit(engine, self.session, review_id, outcome, now, labels)
            self.last = None
            if outcome != "skip":
                chosen = tuple(label for label in LABELS if label in self.chosen)
                revealed = queue.reveal(engine, self.session, review_id, now)
                self.last = LastReview(self.task.text, outcome, chosen, revealed)
        except ModerationError as error:
            self._note(error)
            if not isinstance(error, InvalidInputError | NotFoundError):
                return  # the item stays at hand
        self._put_away()

    def _put_away(self) -> None:
        self.task, self.progress, self._unsaved = None, None, False
        self.chosen = set()

    def _save(self, engine: Engine) -> None:
        if self.task is None:
            return
        draft = {label: label in self.chosen for label in LABELS}
        now = clock.now()
        try:
            queue.save_draft(engine, self.session, self.task.review_id, draft, self._policy, now)
        except (InvalidInputError, NotFoundError) as error:  # given in another tab
            self._note(error)
            self._put_away()
        self._unsaved = False

    def _note(self, error: ModerationError) -> None:
        if isinstance(error, InvalidInputError | NotFoundError):
            self.problem = Problem("This review is settled already.", "Here is what waits next.", str(error))
        elif isinstance(error, SIGNED_OUT):
            self.problem = None  # the page asks to sign in
        else:
            self.problem = explain(error)
