"""`moderation promote` and `moderation rollback`: the ways to move the alias that the API serves."""

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.gate import DEFAULT_RULES, Data, Rules
from moderation.errors import InvalidInputError, ModerationError, NotFoundError, RegistryError

if TYPE_CHECKING:
    from moderation.registry.registry import AliasEvent, Registry
    from train.gate.report import GateReport
    from train.gate.rules import GateRules

ROLLBACK = "rollback"
Alias = Annotated[str | None, typer.Option(help="Alias to move; MODERATION_ALIAS if not given.", metavar="NAME")]


def promote(
    version: Annotated[str, typer.Argument(help="A published version, its beginning, or an alias.")],
    override: Annotated[
        str | None, typer.Option(help="Promote without a passing report; the reason is kept.", metavar="REASON")
    ] = None,
    alias: Alias = None,
    data: Data = None,
    rules: Rules = DEFAULT_RULES,
) -> None:
    """Make a candidate the served version, if it passed the gate.

    Needs a kept report that passed for exactly this candidate against what the alias points to now, with these rules
    and this data. The move is kept with who, when and why.
    """
    from cli.history import record
    from cli.names import find_version
    from cli.registry import open_registry
    from moderation.registry.registry import Move
    from moderation.settings import ApiSettings, load
    from train.gate.rules import read_rules

    settings, registry = load(ApiSettings), open_registry()
    alias = alias or settings.alias
    found, current = find_version(registry, version), registry.aliases().get(alias)
    if override is not None and not override.strip():
        raise InvalidInputError("--override needs a reason")
    if override is None:
        rule_set = read_rules(rules)
        report = _passing_report(registry, found, current, rule_set, data or rule_set.data.path)
        reason = f"gate report of {report.created_at:%Y-%m-%d %H:%M} UTC passed"
    else:
        reason = f"override: {override.strip()}"
    _check_loads(registry, found)
    event = registry.point(alias, found, Move(getpass.getuser(), reason))
    record(registry, settings, found)
    if event.previous != current:
        raise RegistryError(
            f"{alias} was moved to {event.previous} meanwhile, which {found[:12]} was not judged against: "
            "run `moderation rollback` and the gate again"
        )
    typer.echo(f"{alias} -> {found}\n({reason}; before: {current or 'nothing'})")


def rollback(
    reason: Annotated[str | None, typer.Option(help="Kept with the move.")] = None, alias: Alias = None
) -> None:
    """Make the alias point to the version before.

    A second rollback goes one version further back.
    """
    from cli.history import record
    from cli.registry import open_registry
    from moderation.registry.registry import Move
    from moderation.settings import ApiSettings, load

    settings, registry = load(ApiSettings), open_registry()
    alias = alias or settings.alias
    current = registry.resolve(alias)
    target = version_before(registry.events(alias), current)
    if target is None:
        raise NotFoundError(f"there is no version before {current[:12]} under {alias!r}")
    _check_loads(registry, target)
    registry.point(alias, target, Move(getpass.getuser(), f"{ROLLBACK}: {reason}" if reason else ROLLBACK))
    record(registry, settings, target)
    typer.echo(f"{alias} -> {target}\n(rolled back from {current})")


def version_before(events: "list[AliasEvent]", current: str) -> str | None:
    """Return the version to roll back to: what was promoted before the last promotion that still stands.

    A last event that is not of ``current`` was recorded, but its move never happened.
    """
    while events and events[-1].version != current:
        events = events[:-1]
    standing: list[str] = []
    for event in events:
        if event.reason.startswith(ROLLBACK) and len(standing) > 1 and event.version == standing[-2]:
            standing.pop()
        elif not standing or standing[-1] != event.version:
            standing.append(event.version)
    return standing[-2] if len(standing) > 1 else None


def _passing_report(
    registry: "Registry", version: str, current: str | None, rules: "GateRules", data: Path
) -> "GateReport":
    """Return the newest kept report that lets ``version`` pass, or say what is wrong with the newest one."""
    from train.gate.frozen import read_frozen
    from train.gate.report import read_report

    digest = rules.data.digest or read_frozen(data, rules.data).digest
    problems = []
    for directory in reversed(registry.reports(version)):
        try:
            report = read_report(directory)
        except ModerationError as error:
            problems.append(str(error))
            continue
        problem = _mismatch(report, version, current, (rules.digest(), digest))
        if problem is None and report.passed:
            return report
        problems.append(problem or _refusal(report))
        if problem is None:
            break  # an older report that passed is no answer to a newer one that refused
    reason = problems[0] if problems else "it has no gate report"
    command = f"moderation gate {version[:12]}" + (f" --data {data}" if data != rules.data.path else "")
    raise InvalidInputError(
        f"{version[:12]} is not promoted: {reason}; run `{command}` (or promote with --override REASON)"
    )


def _mismatch(report: "GateReport", version: str, current: str | None, digests: tuple[str, str]) -> str | None:
    against = report.against.version if report.against else None
    if report.candidate.version != version:
        return f"its newest report is on another candidate, {report.candidate.version[:12]}"
    if against != current:
        was, now = ((each or "nothing")[:12] for each in (against, current))
        return f"its newest report is against {was}, and now {now} is served"
    if report.rules_digest != digests[0]:
        return "its newest report was made with other rules or cases"
    if report.data.digest != digests[1]:
        return f"its newest report was made on other data ({report.data.name}, digest {report.data.digest[:12]})"
    return None


def _refusal(report: "GateReport") -> str:
    more = f" and {len(report.reasons) - 3} more" if len(report.reasons) > 3 else ""
    return f"the gate refused it: {'; '.join(report.reasons[:3])}{more}"


def _check_loads(registry: "Registry", version: str) -> None:
    """Make sure that the API could serve the version."""
    from moderation.bundle import read_bundle
    from moderation.labels import LABELS
    from moderation.scoring.scorer import Scorer

    Scorer.load(read_bundle(registry.fetch(version), LABELS), threads=1)
