"""What the registry knows of promotions, and the copy of it in the database, which is all that the monitor reads.

The registry is the truth: a database that is away or behind stops no promotion, and catches up with the next one.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from moderation import clock
from moderation.errors import ModerationError

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from moderation.db.log import VersionRecord
    from moderation.lineage.graph import Verdict
    from moderation.registry.registry import AliasEvent, Registry
    from moderation.settings import ApiSettings, DatabaseSettings
    from train.gate.report import GateReport

ROLLBACK = "rollback"
"""How the reason of a rollback's event begins."""


def standing(events: "list[AliasEvent]", current: str) -> list[str]:
    """Return the versions that were promoted and not rolled back, oldest first; the last is ``current``.

    ``events`` are the moves of one alias. A version that was set without a record shows as the next event's
    ``previous``.
    """
    from moderation.registry.registry import happened

    found: list[str] = []
    for event in happened(events, current):
        if event.previous is not None and found[-1:] != [event.previous]:
            found.append(event.previous)
        if event.reason.startswith(ROLLBACK) and found[-2:-1] == [event.version]:
            found.pop()
        elif found[-1:] != [event.version]:
            found.append(event.version)
    return found if found[-1:] == [current] else [*found, current]


def all_moves(registry: "Registry") -> "list[AliasEvent]":
    """Return the moves of every alias that took place."""
    from moderation.registry.registry import happened

    return [move for alias, current in registry.aliases().items() for move in happened(registry.events(alias), current)]


def record(registry: "Registry", settings: "ApiSettings", version: str) -> None:
    """Record ``version``, its gate reports and the moves of every alias; a database that fails is a warning."""
    if not _has_database(settings):
        return  # such as where models are trained, and nothing for databases is installed
    from moderation.db.database import connect, require_current
    from moderation.db.log import record_version
    from moderation.db.promotion import record_moves, record_verdicts

    try:
        engine = connect(settings.resolved_database_url())
        require_current(engine)
        moves = all_moves(registry)
        with engine.begin() as connection:
            record_version(connection, version_record(registry, settings, version))
            record_moves(connection, moves)
            record_verdicts(connection, verdicts(registry, version))
        engine.dispose()
    except ModerationError as error:
        typer.echo(f"warning: not yet in the database, the next promotion brings it there: {error}", err=True)


def open_database(settings: "DatabaseSettings") -> "Engine | None":
    """Return the database, or None if none is configured and the embedded one was never made."""
    if not _has_database(settings):
        return None
    from moderation.db.database import connect

    return connect(settings.resolved_database_url())


def _has_database(settings: "DatabaseSettings") -> bool:
    return settings.database_url is not None or (settings.state_dir / "moderation.db").exists()


def version_record(registry: "Registry", settings: "ApiSettings", version: str) -> "VersionRecord":
    """Return what the database keeps of a published version."""
    from moderation.bundle import read_bundle
    from moderation.db.log import VersionRecord
    from moderation.policy_file import read_policy

    manifest = read_bundle(registry.fetch(version)).manifest
    limits = read_policy(settings.policy_path, manifest.thresholds).thresholds
    return VersionRecord(
        version=version,
        first_seen_at=clock.now(),
        name=manifest.name,
        labels=list(manifest.label_names),
        thresholds={label: {"review": each.review, "remove": each.remove} for label, each in limits.items()},
        reference=manifest.reference.model_dump(mode="json"),
        provenance=manifest.provenance.model_dump(mode="json"),
        operating_points=manifest.operating_points,
    )


def verdicts(registry: "Registry", version: str) -> "list[Verdict]":
    """Return what the kept gate reports on ``version`` say, oldest first; damaged ones are left out."""
    from moderation.lineage.graph import Verdict

    return [
        Verdict(
            candidate=report.candidate.version,
            created_at=report.created_at,
            against=report.against.version if report.against else None,
            passed=report.passed,
            reasons=report.reasons,
            data_digest=report.data.digest,
            rules_digest=report.rules_digest,
        )
        for report in kept_reports(registry, version)
    ]


def kept_reports(registry: "Registry", version: str) -> "Iterator[GateReport]":
    """Yield the kept gate reports on ``version``, oldest first; damaged ones are left out with a warning."""
    for directory in registry.reports(version):
        from train.gate.report import read_report  # pandas and the like, not for those without a report

        try:
            yield read_report(directory)
        except ModerationError as error:
            typer.echo(f"warning: {error}", err=True)
