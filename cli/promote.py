"""`moderation promote` and `moderation rollback`: the ways to move the alias that the API serves."""

import getpass
from typing import TYPE_CHECKING, Annotated

import typer

from cli.history import ROLLBACK, standing
from moderation.errors import InvalidInputError, ModerationError, NotFoundError

if TYPE_CHECKING:
    from moderation.registry.registry import Registry
    from moderation.settings import GateSettings
    from train.gate.report import GateReport

Alias = Annotated[str | None, typer.Option(help="Alias to move; MODERATION_ALIAS if not given.", metavar="NAME")]


def promote(
    version: Annotated[str, typer.Argument(help="A published version, its first 8 or more digits, or an alias.")],
    override: Annotated[
        str | None, typer.Option(help="Promote without a passing report; the reason is kept.", metavar="REASON")
    ] = None,
    alias: Alias = None,
) -> None:
    """Make a candidate the served version, if it passed the gate.

    Needs a kept report that passed for exactly this candidate against what the alias points to now, by the rules and on
    the data in force (MODERATION_GATE_RULES_PATH, MODERATION_GATE_DATA_PATH). The move is kept with who, when and why.
    """
    from cli.history import record
    from cli.names import find_version
    from cli.registry import open_registry
    from moderation.registry.registry import Move
    from moderation.settings import GateSettings, load

    settings, registry = load(GateSettings), open_registry()
    alias = alias or settings.alias
    found, current = find_version(registry, version), registry.aliases().get(alias)
    if override is not None and not override.strip():
        raise InvalidInputError("--override needs a reason")
    if override is None:
        report = _passing_report(registry, found, current, settings, alias)
        reason = (
            f"gate report of {report.created_at:%Y-%m-%d %H:%M} UTC passed "
            f"(rules {report.rules_digest[:12]}, data {report.data.digest[:12]})"
        )
    else:
        reason = f"override: {override.strip()}"
    _check_loads(registry, found, current)
    registry.point(alias, found, Move(getpass.getuser(), reason), expected_previous=current)
    record(registry, settings, found)
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
    before = standing(registry.events(alias), current)[:-1]
    if not before:
        raise NotFoundError(f"there is no version before {current[:12]} under {alias!r}")
    target = before[-1]
    _check_loads(registry, target, current)
    move = Move(getpass.getuser(), f"{ROLLBACK}: {reason}" if reason else ROLLBACK)
    registry.point(alias, target, move, expected_previous=current)
    record(registry, settings, target)
    typer.echo(f"{alias} -> {target}\n(rolled back from {current})")


def _passing_report(
    registry: "Registry", version: str, current: str | None, settings: "GateSettings", alias: str
) -> "GateReport":
    """Return the newest kept report that lets ``version`` pass, or say what is wrong with the newest one.

    Raises:
        InvalidInputError: there is none.
    """
    from train.gate.frozen import read_frozen
    from train.gate.report import read_report
    from train.gate.rules import read_rules

    command = f"moderation gate {version[:12]}"
    if alias != settings.alias:
        command = f"MODERATION_ALIAS={alias} {command}"
    reports = registry.reports(version)
    if not reports:  # said before the data are read, which may not be there either
        raise InvalidInputError(
            f"{version[:12]} is not promoted: it has no gate report; run `{command}`, "
            "or promote it with --override REASON"
        )
    rules = read_rules(settings.gate_rules_path)
    digests = rules.digest(), rules.data.digest or read_frozen(settings.resolved_gate_data_path(), rules.data).digest
    problem = ""
    for number, directory in enumerate(reversed(reports)):
        try:
            report = read_report(directory)
            found = _mismatch(report, version, current, digests)
        except ModerationError as error:
            found = str(error)
        if found is None and report.passed:
            return report
        if found is None:  # an older report that passed is no answer to a newer one that refused
            raise InvalidInputError(
                f"{version[:12]} is not promoted: {_refusal(report)}; --override REASON promotes it all the same"
            )
        problem = problem if number else found
    raise InvalidInputError(
        f"{version[:12]} is not promoted: {problem}; run `{command}`, or promote it with --override REASON"
    )


def _mismatch(report: "GateReport", version: str, current: str | None, digests: tuple[str, str]) -> str | None:
    against = report.against.version if report.against else None
    if report.candidate.version != version:
        return f"its newest report is on another candidate, {report.candidate.version[:12]}"
    if against != current:
        was, now = ((each or "nothing")[:12] for each in (against, current))
        return f"its newest report is against {was}, and now {now} is served"
    if report.rules_digest != digests[0]:
        return f"its newest report was made with other rules or cases (digest {report.rules_digest[:12]})"
    if report.data.digest != digests[1]:
        return f"its newest report was made on other data ({report.data.name}, digest {report.data.digest[:12]})"
    return None


def _refusal(report: "GateReport") -> str:
    more = f" and {len(report.reasons) - 3} more" if len(report.reasons) > 3 else ""
    return f"the gate refused it: {'; '.join(report.reasons[:3])}{more}"


def _check_loads(registry: "Registry", version: str, current: str | None) -> None:
    """Make sure that the API could serve the version, and warn of what callers lose with ``current``."""
    from moderation.bundle import read_bundle
    from moderation.labels import LABELS
    from moderation.perspective import PerspectiveScorer
    from moderation.perspective_scale import lost_scale
    from moderation.scoring.scorer import Scorer

    bundle = read_bundle(registry.fetch(version), LABELS, version)
    Scorer.load(bundle, threads=1, backend=bundle.manifest.stated_backend)
    PerspectiveScorer.load(bundle)
    try:
        served = read_bundle(registry.fetch(current)).perspective if current else None
    except ModerationError:  # a promotion may be what gets rid of a damaged one
        served = None
    if (lost := lost_scale(bundle.perspective, served)) is not None:
        typer.echo(f"warning: {lost}", err=True)
