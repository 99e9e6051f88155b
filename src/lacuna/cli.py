"""The `lacuna` command. In: words on a command line. Out: tables on the screen; errors in one line, exit status 1."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lacuna import doctor as diagnosis
from lacuna.types import MalformedInput

app = typer.Typer(
    name="lacuna",
    help="Raw videos in; features, incomplete variants, MMSA pickles and honestly judged robust models out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()


def main() -> None:
    """Entry point: what is wrong with the input is told in one line."""
    try:
        app()
    except MalformedInput as error:
        console.print(f"[red]lacuna:[/red] {error}", soft_wrap=True, highlight=False)
        sys.exit(1)


@app.command()
def doctor() -> None:
    """Versions, the device, and which extractors and backends can run here, with what each lacks."""
    for title, rows in diagnosis.examine().items():
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, verdict in rows:
            table.add_row(name, verdict)
        console.print(table)


@app.command()
def check(dataset: str) -> None:
    """Read raw/<dataset> as `prepare` will, and list what would be refused; nothing is written."""
    from lacuna.datasets import prepare
    from lacuna.params import load_params

    params = load_params()
    clips, rejects = prepare(Path("raw", dataset), dataset, params.prepare.of(dataset), params.workers)
    for reject in rejects:
        console.print(f"refused  {reject.id}  {reject.file}: {reject.reason}", soft_wrap=True, highlight=False)
    splits = {split: sum(c.split == split for c in clips) for split in dict.fromkeys(c.split for c in clips)}
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    console.print(f"{dataset}: {len(clips)} clips ({told}), {len(rejects)} refused")
    if rejects:
        raise typer.Exit(1)


@app.command()
def info(path: Path) -> None:
    """What a features file, a variants file, an MMSA pickle or a checkpoint folder holds."""
    from lacuna.inspecting import describe

    for name, value in describe(path):
        console.print(f"{name:<14} {value}", soft_wrap=True, highlight=False)


@app.command()
def scores(metric: Annotated[str, typer.Option(help="default: the task's main metrics")] = "") -> None:
    """The scores under processed/*/scores, by model and missing rate."""
    files = sorted(Path("processed").glob("*/scores/*.json"))
    if not files:
        raise MalformedInput("processed/*/scores: expected scores, found none (run `dvc repro`)")
    for file in files:
        _print_scores(json.loads(file.read_text(encoding="utf-8")), metric)


def _print_scores(record: dict, metric: str) -> None:
    regression = record["task"] == "regression"
    usual = ["mae", "corr", "acc2" if record["scale"] == "sims" else "has0_acc2"]
    names = [metric] if metric else (usual if regression else ["accuracy", "macro_f1"])
    clips = record["clips"]["test"]
    table = Table(title=f"{record['dataset']}: {record['model']} on {clips} test clips, {record['protocol']} protocol")
    for column in ("pattern", "missing", *names):
        table.add_column(column)
    for name, values in record["baselines"].items():
        table.add_row(name, "-", *(_number(values.get(n)) for n in names), style="dim")
    for pattern, levels in record["patterns"].items():
        for level, values in levels.items():
            if any(n not in values for n in names):
                raise MalformedInput(f"{metric}: expected one of {', '.join(values)}")
            table.add_row(pattern, level, *(_number(values[n]["mean"]) for n in names))
    console.print(table)


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


@app.command()
def extract(
    dataset: str,
    extractor: str,
    shard: Annotated[str, typer.Option(help="k/n: every n-th clip from the k-th, into the cache only")] = "",
) -> None:
    """Extract features as the stage does; with --shard on many machines at once, merged by the stage afterwards."""
    from lacuna.extracting import extract_dataset, extract_shard
    from lacuna.params import load_params

    params = load_params()
    told = extract_shard(params, dataset, extractor, shard) if shard else extract_dataset(params, dataset, extractor)
    console.print(told, soft_wrap=True, highlight=False)


@app.command()
def export(
    dataset: str,
    aligned: Annotated[bool, typer.Option(help="features averaged over words")] = False,
    pattern: Annotated[str, typer.Option(help="an incomplete variant: a file of lacuna/patterns")] = "",
    rate: Annotated[str, typer.Option(help="its missing rate, or the modalities that are left: text+audio")] = "0.5",
    seed: Annotated[int, typer.Option(help="its seed")] = 1,
    out: Annotated[Path | None, typer.Option(help="default: processed/<dataset>/mmsa/…")] = None,
) -> None:
    """Write a pickle that MMSA reads, complete or incomplete."""
    from lacuna.exporting import Variant, export_pickle
    from lacuna.params import load_params

    variant = Variant(pattern, float(rate) if rate.replace(".", "", 1).isdigit() else rate, seed) if pattern else None
    for line in export_pickle(load_params(), Path("processed", dataset), out, variant, aligned):
        console.print(line, soft_wrap=True, highlight=False)


if __name__ == "__main__":
    main()
