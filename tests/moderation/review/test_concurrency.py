"""Reviewers in processes of their own who ask at the same time."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

from sqlalchemy import Engine, select

from moderation.db.review_models import Review, ReviewItem
from tests.moderation.review.records import drawn, signed_in

REVIEW = """
import sys
from moderation.db.database import connect
from moderation.review.access import resume
from moderation.review.queue import next_item, submit
from tests.moderation.review.records import CLOSED, NO, policy

engine, rules = connect(sys.argv[1]), policy()
session = resume(engine, sys.argv[2], CLOSED)
while (task := next_item(engine, session, rules, CLOSED)) is not None:
    submit(engine, session, task.review_id, "labels", CLOSED, NO)
"""


def test_no_two_reviewers_get_the_same_item_by_accident(engine: Engine, database_url: str) -> None:
    drawn(engine, 40, double_share=0.3)
    # Two tabs of each reviewer.
    tokens = [signed_in(engine, name).token for name in ("ann", "bob", "eve") for _ in range(2)]
    running = [
        subprocess.Popen([sys.executable, "-c", REVIEW, database_url, token], cwd=Path(__file__).parents[3],
                         stderr=subprocess.PIPE, text=True)
        for token in tokens
    ]  # fmt: skip
    for process in running:
        _, said = process.communicate(timeout=120)
        # Two tabs share one item at hand: the second verdict on it is refused.
        assert process.returncode == 0 or "was submitted at" in said, said
    with engine.connect() as connection:
        done = connection.execute(select(Review.item_id, Review.reviewer).where(Review.submitted_at.is_not(None))).all()
        wanted = dict(map(tuple, connection.execute(select(ReviewItem.id, ReviewItem.wanted))))
    assert len(set(done)) == len(done)
    counts = Counter(item for item, _ in done)
    assert all(count <= wanted[item] for item, count in counts.items())
    # Whoever is still there finishes what the refused tabs left.
    assert sum(counts.values()) >= 30
