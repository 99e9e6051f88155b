"""The `lacuna` command. In: words on a command line. Out: tables on the screen; errors in one line, status 1."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from lacuna.commands import doctor as diagnosis
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
        told = Console(stderr=True)  # what is asked for may go into a file or another program
        told.print(f"[red]lacuna:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
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
    from lacuna.params import load_params
    from lacuna.prepare.rejects import check_share
    from lacuna.prepare.run import prepare

    params = load_params()
    settings = params.prepare.of(dataset)
    clips, rejects = prepare(Path("raw", dataset), dataset, settings, params.workers)
    for reject in rejects:
        console.print(f"refused  {reject.id}  {reject.file}: {reject.reason}", soft_wrap=True, highlight=False)
    splits = {split: sum(c.split == split for c in clips) for split in dict.fromkeys(c.split for c in clips)}
    told = ", ".join(f"{count} {split}" for split, count in splits.items())
    console.print(f"{dataset}: {len(clips)} clips ({told}), {len(rejects)} refused")
    try:
        check_share(rejects, len(clips) + len(rejects), settings.max_rejects, Path("raw", dataset))
    except MalformedInput as error:
        _say([f"`dvc repro prepare` will stop: {error}"])
    if rejects:
        raise typer.Exit(1)


@app.command()
def info(path: Path) -> None:
    """What a features file, a variants file, an MMSA pickle or a checkpoint folder holds."""
    from lacuna.commands.info import describe

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
    chosen = (
        "chosen on validation" if record["protocol"] == "validation" else "SELECTED ON TEST, one checkpoint a metric"
    )
    table = Table(title=f"{record['dataset']}: {record['model']} on {clips} test clips, {chosen}")
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
    extractors: Annotated[list[str], typer.Argument(help="one, or several that share what they decode")],
    shard: Annotated[str, typer.Option(help="k/n: every n-th clip from the k-th, into the cache only")] = "",
) -> None:
    """Extract features as the stage does; with --shard on many machines at once, merged by the stage afterwards."""
    from lacuna.extract.run import extract_dataset, extract_shard, extract_together
    from lacuna.params import load_params

    params = load_params()
    if len(extractors) > 1:
        _say([extract_together(params, dataset, extractors, shard)])
    for extractor in extractors:
        told = (
            extract_shard(params, dataset, extractor, shard) if shard else extract_dataset(params, dataset, extractor)
        )
        _say([told])


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
    from lacuna.export.run import Variant, export_pickle
    from lacuna.params import load_params

    variant = Variant(pattern, float(rate) if rate.replace(".", "", 1).isdigit() else rate, seed) if pattern else None
    for line in export_pickle(load_params(), Path("processed", dataset), out, variant, aligned):
        console.print(line, soft_wrap=True, highlight=False)


@app.command("import-mmsa")
def import_mmsa(
    pickle: Path,
    dataset: Annotated[str, typer.Option(help="name of the dataset: the pickle goes into raw/<name>/")],
) -> None:
    """Check an MMSA pickle, make it a dataset under raw/, and tell what it holds and what params.yaml needs."""
    from lacuna.export.import_ import import_pickle

    _say(import_pickle(pickle, dataset))


@app.command()
def convert(
    model: Annotated[str, typer.Argument(help="a file of lacuna/convert: lnln, misa, dmd")],
    published: Annotated[Path, typer.Argument(help="the authors' checkpoint (.pth)")],
    out: Annotated[Path, typer.Option(help="folder for model.safetensors and model.json")],
    homo: Annotated[Path | None, typer.Option(help="dmd: its first distillation unit, if it was saved")] = None,
    hetero: Annotated[Path | None, typer.Option(help="dmd: its second")] = None,
    label_range: Annotated[tuple[float, float], typer.Option(help="of its scores: -3 3, or -1 1")] = (-3.0, 3.0),
) -> None:
    """Turn a checkpoint of published code into one of ours, with the model's published settings."""
    from lacuna.commands.convert import Source
    from lacuna.commands.convert import convert as convert_checkpoint

    units = {name: path for name, path in (("homo", homo), ("hetero", hetero)) if path}
    _say(convert_checkpoint(model, Source(published, units, label_range), out))


@app.command()
def compare(
    scores: Annotated[list[Path], typer.Argument(help="processed/<dataset>/scores/<model>.json, two or more")],
    metric: Annotated[list[str] | None, typer.Option(help="may be repeated; default: the task's main metrics")] = None,
    latex: Annotated[Path | None, typer.Option(help="also write the tables for a paper")] = None,
) -> None:
    """Models side by side, tested on the same clips; published numbers stand apart."""
    from lacuna.evaluate.compare import cells, told
    from lacuna.evaluate.compare import compare as compare_scores
    from lacuna.evaluate.compare import latex as as_latex

    tables = compare_scores(scores, metric or ())
    for one in tables:
        head, rows = cells(one)
        table = Table(title=f"{one.dataset}, pattern {one.pattern}", title_justify="left")
        for name in head:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        console.print(table)
        _say(told(verdict) for verdict in one.verdicts)
    if latex:
        latex.parent.mkdir(parents=True, exist_ok=True)
        latex.write_text(as_latex(tables), encoding="utf-8")
        _say([f"{latex}: {len(tables)} tables (LaTeX, package booktabs)"])


@app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="a video, a sound file or a picture")],
    checkpoint: Annotated[Path, typer.Option(help="a folder with model.json, as `train` and `convert` write it")],
    text: Annotated[str | None, typer.Option(help="what is said")] = None,
    transcript: Annotated[Path | None, typer.Option(help="what is said, as .srt, .vtt or .txt")] = None,
    encoding: Annotated[str, typer.Option(help="of the transcript, if it is not utf-8: cp1252, big5 …")] = "",
    asr: Annotated[str, typer.Option(help="hear it with: a speech model's hub id, directory, or sphinx")] = "",
    start: Annotated[float, typer.Option(help="s")] = 0.0,
    end: Annotated[float | None, typer.Option(help="s; default: the file's end")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="a modality to leave out; may be repeated")] = None,
    missing: Annotated[list[str] | None, typer.Option(help="text=0.3: lose 30 % of it; may be repeated")] = None,
    seed: Annotated[int, typer.Option(help="decides what is lost")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="the whole answer as JSON")] = False,
) -> None:
    """What a model says of one clip: score, contributions, curve by the second, and what was missing."""
    from lacuna.predict.answers import Question, parse_missing
    from lacuna.predict.run import load

    lost = parse_missing(missing or ())
    answer = load(checkpoint, device)(
        file, Question(text, transcript, encoding, asr, start, end, drop or (), lost, seed)
    )
    if as_json:
        typer.echo(json.dumps(answer.as_dict(), ensure_ascii=False, indent=1))
    else:
        _say(f"{name:<14} {value}" for name, value in answer.lines())


@app.command()
def serve(
    checkpoint: Annotated[Path, typer.Option(help="a folder with model.json")],
    port: Annotated[int, typer.Option(help="of 127.0.0.1; nothing else is listened to")] = 8080,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    asr: Annotated[str, typer.Option(help="a speech recognition model: hub id, directory or sphinx")] = "",
) -> None:
    """A page on this machine: drop a video, take parts of it away, watch the answer change."""
    from lacuna.predict.page import serve as serve_page

    serve_page(checkpoint, port, device=device, asr=asr)


@app.command()
def docs(page: Annotated[str, typer.Argument(help="params: every key of params.yaml, as docs/params.md")]) -> None:
    """Print a page of the documentation that is made from the code."""
    from lacuna.commands.docs import params_page

    if page != "params":
        raise MalformedInput(f"docs: expected params, got {page!r}")
    typer.echo(params_page(), nl=False)


def _say(lines: Iterable[str]) -> None:
    """Lines as they are: not wrapped, and with no marks of rich's in them."""
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()
