"""`moderation gate`: may this candidate be promoted?"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from moderation.bundle import Bundle
    from moderation.registry.registry import Registry
    from train.gate.anchor import Promoted
    from train.gate.report import GateReport

REFUSED = 3


def gate(
    candidate: Annotated[
        str, typer.Argument(help="A version or its first 8 or more digits, an alias, or the folder of a bundle.")
    ],
    against: Annotated[
        str | None, typer.Option(help="The same, to compare with; the served alias if not given.", metavar="NAME")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Other frozen data (parquet) than those in force, to try out.", metavar="FILE")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the report; one in the state folder if not given.", metavar="DIR")
    ] = None,
    rules: Annotated[
        Path | None, typer.Option(help="Other rules than those in force, to try out.", metavar="FILE")
    ] = None,
) -> None:
    """Judge a candidate against production on frozen data.

    Scores both bundles as the API would, writes report.html and report.json, and keeps them in the registry, which a
    folder is published to. Exit code 0: passed, 3: refused, with the reasons. While the served alias does not exist,
    only what needs no comparison is judged. In force are MODERATION_GATE_RULES_PATH and MODERATION_GATE_DATA_PATH:
    `moderation promote` takes reports by these alone.
    """
    from cli.history import record
    from cli.names import find_bundle
    from cli.registry import open_registry
    from moderation.settings import GateSettings, load
    from train.gate.gate import run_gate
    from train.gate.report import write_report
    from train.gate.rules import read_rules

    settings, registry = load(GateSettings), open_registry()
    rule_set = read_rules(rules or settings.gate_rules_path)
    bundle = find_bundle(registry, candidate)
    rival = _rival(registry, against, settings.alias)
    directory = report or settings.state_dir / "gate" / bundle.version[:12]
    _check_writable(directory)
    frozen, promoted = data or settings.resolved_gate_data_path(), _promoted(registry, settings.alias)
    result = run_gate(bundle, rival, rule_set, frozen, settings.threads, promoted)
    write_report(result, directory)
    if bundle.version not in registry.versions():
        registry.publish(bundle.path)
    _keep(registry, bundle.version, directory)
    record(registry, settings, bundle.version)
    typer.echo(_summary(result, directory))
    raise typer.Exit(0 if result.passed else REFUSED)


def _rival(registry: "Registry", against: str | None, alias: str) -> "Bundle | None":
    from cli.names import find_bundle

    if against is None and alias not in registry.aliases():
        typer.echo(f"no alias {alias!r} yet: only what needs no comparison is judged", err=True)
        return None
    try:
        return find_bundle(registry, against or alias)
    except NotFoundError as error:
        raise NotFoundError(f"--against: {error}") from None


def _promoted(registry: "Registry", alias: str) -> "Promoted":
    """Return which versions were promoted, and what the gate measured of them then."""
    from cli.history import kept_reports, standing
    from train.gate.anchor import Promoted

    current = registry.aliases().get(alias)
    versions = set(standing(registry.events(alias), current)) if current else set()
    return Promoted(versions, [report for version in sorted(versions) for report in kept_reports(registry, version)])


def _check_writable(directory: Path) -> None:
    """Find out before the work, not after it."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        trial = directory / ".writable"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise InvalidInputError(
            f"cannot write the report into {directory}: {error.strerror}; check MODERATION_STATE_DIR, or give --report"
        ) from error


def _keep(registry: "Registry", version: str, directory: Path) -> None:
    """Keep the two files of the report, and nothing else that the folder may hold."""
    from train.gate.report import HTML_FILE, JSON_FILE

    with tempfile.TemporaryDirectory() as folder:
        for name in (HTML_FILE, JSON_FILE):
            shutil.copyfile(directory / name, Path(folder) / name)
        registry.keep_report(version, Path(folder))


def _summary(report: "GateReport", directory: Path) -> str:
    against = f"{report.against.name} {report.against.version[:12]}" if report.against else "nothing"
    lines = [f"{report.candidate.name} {report.candidate.version[:12]} against {against}", ""]
    for group in dict.fromkeys(check.group for check in report.checks):
        verdicts = [check.passed for check in report.checks if check.group == group]
        lines.append(f"  {'pass' if all(verdicts) else 'FAIL'}  {group:<20} {sum(verdicts)} of {len(verdicts)}")
    if report.warnings:
        lines += ["", "Warnings:", *(f"- {warning}" for warning in report.warnings)]
    if report.not_judged:
        lines += ["", "Not judged:", *(f"- {reason}" for reason in report.not_judged)]
    lines += ["", "Passed." if report.passed else "Refused:", *(f"- {reason}" for reason in report.reasons)]
    return "\n".join([*lines, f"Report: {directory / 'report.html'}"])
