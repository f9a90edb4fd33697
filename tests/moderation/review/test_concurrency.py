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
from moderation.errors import InvalidInputError
from moderation.review.access import resume
from moderation.review.queue import next_item, submit
from tests.moderation.review.records import CLOSED, NO, policy

engine, rules = connect(sys.argv[1]), policy()
session = resume(engine, sys.argv[2], CLOSED)
while (task := next_item(engine, session, rules, CLOSED)) is not None:
    try:
        submit(engine, session, task.review_id, "labels", CLOSED, NO)
    except InvalidInputError as error:  # the other tab had the same item at hand
        assert "was submitted at" in str(error)
"""


def test_no_two_reviewers_get_the_same_item_by_accident(engine: Engine, database_url: str) -> None:
    drawn(engine, 25, double_share=0.3)
    tokens = [signed_in(engine, name).token for name in ("ann", "ann", "bob", "eve")]  # one has two tabs open
    running = [
        subprocess.Popen([sys.executable, "-c", REVIEW, database_url, token], cwd=Path(__file__).parents[3],
                         stderr=subprocess.PIPE, text=True)
        for token in tokens
    ]  # fmt: skip
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    with engine.connect() as connection:
        done = connection.execute(select(Review.item_id, Review.reviewer).where(Review.submitted_at.is_not(None))).all()
        wanted = dict(map(tuple, connection.execute(select(ReviewItem.id, ReviewItem.wanted))))
    assert len(set(done)) == len(done)
    assert Counter(item for item, _ in done) == wanted
