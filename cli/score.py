"""`moderation score`: a file of texts in, the same file with scores and decisions out."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.output import counted
from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from cli.bulk import TableScorer
    from moderation.bundle import Bundle
    from moderation.perspective import PerspectiveScorer
    from moderation.scoring.scorer import Scorer
    from moderation.settings import ApiSettings, RegistrySettings


class EngineName(StrEnum):
    """Where texts are scored: in this process, or by workers of a Ray cluster."""

    LOCAL = "local"
    RAY = "ray"


def score(  # noqa: PLR0913, PLR0917 - an argument per option
    source: Annotated[
        str, typer.Argument(metavar="INPUT", help="A .csv, .jsonl or .parquet file, or a folder of them.")
    ],
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")],
    output: Annotated[
        str, typer.Option(help="A .parquet, .csv or .jsonl file to write, or a folder.", metavar="OUTPUT")
    ],
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle to score with.", metavar="DIR")] = None,
    alias: Annotated[
        str | None, typer.Option(help="Alias of the bundle to score with; MODERATION_ALIAS if not given.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the new columns.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
    engine: Annotated[
        EngineName, typer.Option(help="local: this machine; ray: a Ray cluster, into a folder.")
    ] = EngineName.LOCAL,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster, HOST:PORT or auto; if not given, one is started here.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Ray processes that score; 0: one per GPU or CPU.", min=0)] = 0,
) -> None:
    """Score every text of a file or folder.

    Rows keep their order and their columns. New columns: one per label with its score in [0, 1], decision (allow,
    review or remove, as the API decides), reasons (the labels behind it; truncated: the text was not read to its end),
    version (of the bundle), tokens_read and truncated; a row without text leaves them empty. The columns of a CSV are
    text, exactly as written. An empty registry is given the starter bundle.

    Into a folder (OUTPUT without suffix, or a URL such as s3://bucket/folder, which INPUT may then be, too) it writes
    parquet files of 1,024 to 16,384 rows, in the order of the rows, and at last _manifest.json with counts and digests.
    Run again after a crash, it scores what is missing; an output of another version or input is refused.
    """
    from moderation.settings import ApiSettings, load

    settings = load(ApiSettings)
    if (address is not None or workers) and engine is not EngineName.RAY:
        raise typer.BadParameter("--address and --workers need --engine ray.")
    if _is_folder(output):
        from cli.locations import Location
        from cli.partitions.run import Request, score_folder

        places = (Location.find(source), Location.find(output))
        request = Request(*places, text_column, prefix, overwrite, engine.value, address, workers)
        try:
            manifest = score_folder(request, find_served(settings, bundle, alias), settings)
        except KeyboardInterrupt:
            typer.echo("stopped; the same command goes on from the parts that are written", err=True)
            raise
        typer.echo(summary(output, manifest["decisions"], manifest["without_text"], manifest["version"]))
        return
    if engine is EngineName.RAY or "://" in source or Path(source).is_dir():
        raise InvalidInputError(
            f"--output {output} is one file, for one local input without Ray; give a folder, {output}/"
        )
    file = TextFile(Path(source), text_column, Path(output), prefix, overwrite)
    check_file(file)
    scorer = score_file(file, find_served(settings, bundle, alias), settings)
    typer.echo(summary(output, scorer.decisions, scorer.without_text, scorer.version))


def _is_folder(output: str) -> bool:
    return "://" in output or output.endswith("/") or not Path(output).suffix or Path(output).is_dir()


@dataclass(frozen=True)
class TextFile:
    """What is scored, and where the scores go."""

    source: Path
    text_column: str
    output: Path
    prefix: str
    overwrite: bool


def check_file(file: TextFile) -> None:
    """Refuse what cannot be scored or written, before a model is loaded.

    Raises:
        InvalidInputError: an output that cannot be written, or a column that cannot be read.
        NotFoundError: no input.
    """
    from cli.bulk import check_text_column
    from cli.output import check_output
    from cli.tables import SUFFIXES, open_table

    if file.output.resolve() == file.source.resolve():
        raise InvalidInputError("the output is the input; give another --output")
    check_output(file.output, SUFFIXES, file.overwrite)
    check_text_column(open_table(file.source).schema, file.text_column)


def score_file(
    file: TextFile,
    bundle: "Bundle",
    settings: "ApiSettings",
    perspective: "PerspectiveScorer | None" = None,
    header: "Callable[[Scorer], Mapping[str, object]] | None" = None,
) -> "TableScorer":
    """Write the rows of ``file`` with their scores; return what scored them, with its counts.

    With ``perspective``, columns of its attributes follow the labels; ``header`` says what stands above the rows.
    """
    from cli.bulk import TableScorer
    from cli.output import replaced_when_complete
    from cli.table_writers import create_table
    from cli.tables import open_table
    from moderation.policy_file import read_policy
    from moderation.scoring.scorer import Scorer

    table = open_table(file.source)
    policy = read_policy(settings.policy_path, bundle.manifest.thresholds)
    loaded = Scorer.load(bundle, settings.threads, settings.backend)
    scorer = TableScorer(loaded, policy, file.text_column, file.prefix, perspective)
    schema = scorer.output_schema(table.schema)
    above = header(loaded) if header else None
    with (
        replaced_when_complete(file.output) as partial,
        closing(create_table(partial, file.output.suffix, schema, above)) as writer,
        progress(table.num_rows) as advance,
    ):
        for chunk in scorer.scored(table.chunks(), advance):
            writer.write(chunk)
    return scorer


def find_served(settings: "RegistrySettings", directory: Path | None, alias: str | None) -> "Bundle":
    """Return the bundle of a folder or alias, else the served one; an empty registry is given the starter."""
    from moderation.bundle import read_bundle
    from moderation.registry.opening import open_registry
    from moderation.registry.starter import seed

    if directory is not None:
        if alias is not None:
            raise typer.BadParameter("give --bundle or --alias, not both.")
        return read_bundle(directory)
    registry = open_registry(settings)
    if settings.registry == "local" and not registry.versions():
        seed(registry, settings.alias)
    return read_bundle(registry.fetch(registry.resolve(alias or settings.alias)))


@contextmanager
def progress(num_rows: int) -> Iterator[Callable[[int], object]]:
    """Yield what is told how many more texts are done, and draws a bar on stderr where that is a terminal."""
    from tqdm import tqdm

    with tqdm(total=num_rows, unit=" texts", mininterval=0.2, dynamic_ncols=True, disable=None) as bar:
        yield bar.update


def summary(output: str, decisions: Mapping[str, int], without: int, version: str) -> str:
    """Say what was written; ``without`` rows had no text."""
    counts = ", ".join(f"{count} {decision}" for decision, count in sorted(decisions.items())) or "no texts"
    left = f"; {counted(without, 'row')} without text {'has' if without == 1 else 'have'} no scores" if without else ""
    return f"Wrote {output}: {counts}{left}. Version {version}."
