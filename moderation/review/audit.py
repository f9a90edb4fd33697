"""Writes the audit log: who did what, when. It is only added to, and holds no text of a comment."""

import uuid
from datetime import datetime

from sqlalchemy import Connection, insert

from moderation.db.review_models import AuditEntry


def write(connection: Connection, now: datetime, who: str, action: str, subject: str) -> None:
    """Add an entry, in the transaction of what it tells of; ``who`` is a reviewer, or a process (``system:draw``)."""
    row = {"at": now, "id": str(uuid.uuid4()), "reviewer": who, "action": action, "subject": subject}
    connection.execute(insert(AuditEntry).values(row))
