"""`moderation score`: a file of texts in, the same file with scores and decisions out."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from moderation.errors import InvalidInputError

if TYPE_CHECKING:
    from cli.bulk import TableScorer
    from moderation.bundle import Bundle
    from moderation.settings import RegistrySettings


def score(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A .csv, .jsonl or .parquet file.")],
    text_column: Annotated[str, typer.Option(help="Column that holds the texts.")],
    output: Annotated[Path, typer.Option(help="A .parquet, .csv or .jsonl file to write.", metavar="OUTPUT")],
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle to score with.", metavar="DIR")] = None,
    alias: Annotated[
        str | None, typer.Option(help="Alias of the bundle to score with; MODERATION_ALIAS if not given.")
    ] = None,
    prefix: Annotated[str, typer.Option(help="Put before the names of the new columns.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUTPUT if it exists.")] = False,
) -> None:
    """Score every text of a file.

    Rows keep their order and their columns. New columns: one per label with its score in [0, 1], decision (allow,
    review or remove, as the API decides), reasons (the labels behind it; truncated: the text was not read to its end),
    version (of the bundle), tokens_read and truncated; a row without text leaves them empty. The columns of a CSV are
    text, exactly as written. An empty registry is given the starter bundle.
    """
    from cli.bulk import TableScorer, check_text_column
    from cli.output import check_output, replaced_when_complete
    from cli.tables import SUFFIXES, create_table, open_table
    from moderation.policy_file import read_policy
    from moderation.scoring.scorer import Scorer
    from moderation.settings import ApiSettings, load

    settings = load(ApiSettings)
    if output.resolve() == source.resolve():
        raise InvalidInputError("the output is the input; give another --output")
    check_output(output, SUFFIXES, overwrite)
    table = open_table(source)
    check_text_column(table.schema, text_column)
    found = _find_bundle(settings, bundle, alias)
    policy = read_policy(settings.policy_path, found.manifest.thresholds)
    scorer = TableScorer(Scorer.load(found, settings.threads, settings.backend), policy, text_column, prefix)
    schema = scorer.output_schema(table.schema)
    with (
        replaced_when_complete(output) as partial,
        closing(create_table(partial, output.suffix, schema)) as writer,
        _progress(table.num_rows) as advance,
    ):
        for chunk in table.chunks():
            writer.write(scorer.add_scores(chunk, advance))
    typer.echo(_summary(output, scorer))


def _find_bundle(settings: "RegistrySettings", directory: Path | None, alias: str | None) -> "Bundle":
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
def _progress(num_rows: int) -> Iterator[Callable[[int], object]]:
    from tqdm import tqdm

    # Not a terminal: a log, which needs no line per second.
    interval_s = 0.2 if sys.stderr.isatty() else 30.0
    with tqdm(total=num_rows, unit=" texts", file=sys.stderr, mininterval=interval_s, dynamic_ncols=True) as bar:
        yield bar.update


def _summary(output: Path, scorer: "TableScorer") -> str:
    counts = ", ".join(f"{count} {decision}" for decision, count in sorted(scorer.decisions.items())) or "no texts"
    left = f"; {scorer.without_text} rows without text have no scores" if scorer.without_text else ""
    return f"Wrote {output}: {counts}{left}. Version {scorer.version}."
