"""The `lacuna` command. In: words on a command line. Out: tables on the screen; errors in one line, status 1."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from lacuna import __version__
from lacuna.commands import doctor as diagnosis
from lacuna.commands import screen
from lacuna.stages import shown, tell_what_is_done, told_in_one_line
from lacuna.types import MalformedInput, counted

app = typer.Typer(
    name="lacuna",
    help="Raw videos in; features, incomplete variants, MMSA pickles and honestly judged robust models out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
USE = "a program, folder or weights that the checkpoint asks for: bert.source=…; may be repeated"
console = Console(markup=False, emoji=False, highlight=False)  # [b] and :b: may stand in names: nothing is markup


def main() -> None:
    """Entry point: what goes wrong is told in one line."""
    for stream in (sys.stdout, sys.stderr):  # file names need not be text
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    tell_what_is_done()
    with told_in_one_line("lacuna"):
        app()


def _told_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lacuna {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_told_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Raw videos in; features, incomplete variants, MMSA pickles and honestly judged robust models out."""


@app.command()
def doctor() -> None:
    """Versions, the device, and which extractors and backends can run here, with what each lacks."""
    for title, rows in diagnosis.examine().items():
        if not rows:
            continue
        table = Table(title=title, title_justify="left", show_header=False, box=None)
        for name, verdict in rows:
            table.add_row(name, shown(verdict))
        console.print(table)


@app.command()
def init(folder: Path) -> None:
    """Start a project in a new folder: params.yaml, dvc.yaml, pipeline/, raw/, processed/, plugins/ and a README."""
    from lacuna.commands.init import init as start

    console.print(f"{folder}: wrote {', '.join(start(folder))}", highlight=False, soft_wrap=True)
    console.print(f"Next: cd {folder} && dvc repro", highlight=False, soft_wrap=True)


@app.command()
def check(
    dataset: str,
    decode: Annotated[bool, typer.Option(help="also decode every clip to its end, as `extract` will")] = False,
) -> None:
    """Read raw/<dataset> as `prepare` will, and list what would be refused; nothing is written."""
    from lacuna.commands.check import check as check_dataset
    from lacuna.params import load_params

    lines, sound = check_dataset(load_params(), dataset, decode)
    _say(lines)
    if not sound:
        raise typer.Exit(1)


@app.command()
def info(path: Path) -> None:
    """What a features file, a variants file, an MMSA pickle or a checkpoint folder holds."""
    from lacuna.commands.info import describe

    _say_pairs(describe(path))


@app.command()
def scores(metric: Annotated[str, typer.Option(help="default: the task's main metrics")] = "") -> None:
    """The scores under processed/*/scores, and those on other datasets, by model and missing rate."""
    from lacuna.commands.scores import tables

    for title, head, rows in tables(Path("processed"), metric):
        _table(title, head, rows)


@app.command()
def extract(
    dataset: str,
    extractors: Annotated[list[str], typer.Argument(help="one, or several that share what they decode")],
    shard: Annotated[str, typer.Option(help="k/n: every n-th clip from the k-th, into the cache only")] = "",
) -> None:
    """Extract features as the stage does; with --shard on many machines at once, merged by the stage afterwards."""
    from lacuna.commands.extract import extract as extract_features
    from lacuna.params import load_params

    _say(extract_features(load_params(), dataset, extractors, shard))


@app.command()
def train(
    datasets: Annotated[list[str] | None, typer.Argument(help="default: those of params.yaml")] = None,
    shard: Annotated[str, typer.Option(help="k/n: every n-th run from the k-th; of the model and the seed")] = "",
) -> None:
    """Do every training that is not done, in processes or on Ray; with --shard on many machines at once."""
    from lacuna.commands.runs import run_all
    from lacuna.params import load_params

    _say(run_all(load_params(), "train", datasets or [], shard))


@app.command()
def evaluate(
    datasets: Annotated[list[str] | None, typer.Argument(help="default: those of params.yaml")] = None,
    shard: Annotated[str, typer.Option(help="k/n: every n-th model from the k-th")] = "",
) -> None:
    """Judge every model that is not judged yet, in processes or on Ray; with --shard on many machines at once."""
    from lacuna.commands.runs import run_all
    from lacuna.params import load_params

    _say(run_all(load_params(), "evaluate", datasets or [], shard))


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
    from lacuna.data.samples import read_clips
    from lacuna.export.pickle import Settings
    from lacuna.export.run import Variant, aligned_files, export_pickle, place_of
    from lacuna.params import load_params

    variant = Variant(pattern, float(rate) if rate.replace(".", "", 1).isdigit() else rate, seed) if pattern else None
    settings, folder = load_params().export.of(dataset), Path("processed", dataset)
    features, clips = folder / "features", read_clips(folder / "clips.jsonl")
    files = {name: features / f"{name}.h5" for name in settings.features}
    if aligned:
        files = aligned_files(features, settings.features)
    path, chosen = (
        out or place_of(folder / "mmsa", variant, aligned),
        Settings(settings.lengths, aligned, bool(variant)),
    )
    _say(export_pickle(path, clips, files, features / f"{settings.tokens}.h5", chosen, variant))


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
    model: Annotated[str, typer.Argument(help="a file of lacuna/commands/published: lnln, almt, …")],
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
    scores: Annotated[list[Path], typer.Argument(help="processed/<dataset>, or scores/<model>.json of it")],
    metric: Annotated[list[str] | None, typer.Option(help="may be repeated; default: the task's main metrics")] = None,
    latex: Annotated[Path | None, typer.Option(help="also write the tables for a paper")] = None,
    matrix: Annotated[bool, typer.Option(help="only train rate × test rate, under the pattern frames")] = False,
    pairs: Annotated[bool, typer.Option("--pairs", help="test every pair, not only the best with each")] = False,
) -> None:
    """Models ranked and tested on the same clips, corrected for their number; published numbers stand apart."""
    from lacuna.evaluate.compare import BASELINE, DIFFERENCES, cells, differences, files_of
    from lacuna.evaluate.compare import compare as compare_scores
    from lacuna.evaluate.compare import latex as as_latex
    from lacuna.evaluate.matrix import matrix as matrix_of

    if matrix:
        key = (metric or ["mae"])[0]
        _table(f"{key} by what was learnt under, and by the share of frames lost", *matrix_of(files_of(scores), key))
        return
    tables = compare_scores(scores, metric or ())
    for one in tables:
        _table(f"{one.dataset}, pattern {one.pattern}", *cells(one))
        if one.verdicts:
            _say(["† no other model is clearly better"])
            title = "first minus second: mean error over all rates; paired bootstrap over clips and seeds, corrected"
            title += (
                f" for {counted(len(one.verdicts), 'pair')} (Holm); with nothing lost McNemar's test of right answers"
            )
            _table(title, DIFFERENCES, differences(one, pairs))
        if not any(row.name == BASELINE for row in one.rows):
            _say([f"{one.dataset}: no {BASELINE} to compare with; add it to `models` of params.yaml"])
    if latex:
        latex.parent.mkdir(parents=True, exist_ok=True)
        latex.write_text(as_latex(tables), encoding="utf-8")
        _say([f"{latex}: {counted(len(tables), 'table')} (LaTeX, package booktabs)"])


def _table(title: str, head: list[str], rows: list[list[str]]) -> None:
    console.print(screen.table(title, head, rows, console.width))


@app.command()
def predict(
    file: Annotated[Path, typer.Argument(help="a video, a sound file or a picture")],
    checkpoint: Annotated[str, typer.Option(help="a folder with model.json, or hf://org/name of a model hub")],
    text: Annotated[str | None, typer.Option(help="what is said")] = None,
    transcript: Annotated[Path | None, typer.Option(help="what is said, as .srt, .vtt or .txt")] = None,
    encoding: Annotated[str, typer.Option(help="of the transcript, if it is not utf-8: cp1252, big5 …")] = "",
    asr: Annotated[str, typer.Option(help="hear it with: a speech model's hub id, directory, or sphinx")] = "",
    start: Annotated[float, typer.Option(help="s")] = 0.0,
    end: Annotated[float | None, typer.Option(help="s; default: the file's end")] = None,
    drop: Annotated[list[str] | None, typer.Option(help="a modality to leave out; may be repeated")] = None,
    missing: Annotated[list[str] | None, typer.Option(help="text=0.3: lose 30 % of it; may be repeated")] = None,
    seed: Annotated[int, typer.Option(help="decides what is lost")] = 1,
    use: Annotated[list[str] | None, typer.Option(help=USE)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="the whole answer as JSON")] = False,
) -> None:
    """What a model says of one clip: score, contributions, curve by the second, and what was missing."""
    from lacuna import load
    from lacuna.commands.own import own_settings
    from lacuna.commands.share.hub import fetched
    from lacuna.predict.answers import Question, parse_missing
    from lacuna.predict.trust import parse_use
    from lacuna.train.checkpoint import read_card

    lost = parse_missing(missing or ())
    folder = fetched(checkpoint)
    predictor = load(folder, device, own_settings(read_card(folder).dataset) | parse_use(use or ()))
    answer = predictor(file, Question(text, transcript, encoding, asr, start, end, drop or (), lost, seed))
    if as_json:
        typer.echo(json.dumps(answer.as_dict(), ensure_ascii=False, indent=1))
    else:
        _say_pairs(answer.lines())


@app.command()
def serve(
    checkpoint: Annotated[str, typer.Option(help="a folder with model.json, or hf://org/name of a model hub")],
    port: Annotated[int, typer.Option(help="of 127.0.0.1; nothing else is listened to")] = 8080,
    max_seconds: Annotated[float, typer.Option(help="s that reading one file may take")] = 90.0,
    use: Annotated[list[str] | None, typer.Option(help=USE)] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda")] = "auto",
    asr: Annotated[str, typer.Option(help="a speech recognition model: hub id, directory or sphinx")] = "",
) -> None:
    """A page on this machine: drop a video, take parts of it away, watch the answer change."""
    from lacuna.commands.own import own_settings
    from lacuna.commands.share.hub import fetched
    from lacuna.predict.page import serve as serve_page
    from lacuna.predict.trust import parse_use
    from lacuna.predict.uploads import Limits
    from lacuna.train.checkpoint import read_card

    folder = fetched(checkpoint)
    trusted = own_settings(read_card(folder).dataset) | parse_use(use or ())
    serve_page(folder, port, Limits(patience=max_seconds), device, asr, trusted)


@app.command()
def tune(
    dataset: str,
    model: Annotated[str, typer.Argument(help="a name in `models`")],
    trials: Annotated[int, typer.Option(help="in all: what was tried before counts")] = 20,
    vary: Annotated[
        list[str] | None, typer.Option(help="training.<setting>=1e-5..1e-3, model.<setting>=a,b; may be repeated")
    ] = None,
) -> None:
    """Search settings by their validation loss with Optuna; what is best comes out as a `like:` block."""
    from lacuna.commands.tune.run import Search, write_study
    from lacuna.commands.tune.run import tune as tried
    from lacuna.commands.tune.space import DEFAULT, parse
    from lacuna.params import load_params

    params, processed = load_params(), Path("processed", dataset)
    label_range = params.prepare.of(dataset).label_range
    search = Search(processed, model, parse(vary or DEFAULT), params.train, label_range, params.seeds)
    study = tried(search, trials)
    block = write_study(search, study)
    _say([f"{counted(len(study.trials), 'trial')}, best validation loss {study.best_value:.4f} ({search.folder})"])
    _say([f"# for params.yaml; and {model}_tuned in `models`", block.rstrip()])


@app.command()
def push(
    folder: Annotated[Path, typer.Argument(help="a checkpoint, or processed/<dataset> for its features")],
    repository: Annotated[str, typer.Argument(help="<organisation>/<name> on the model hub")],
    private: Annotated[bool, typer.Option(help="for your organisation alone")] = False,
) -> None:
    """Publish a checkpoint with a model card, or features as Parquet; lacuna.load("hf://…") reads the model again."""
    from lacuna.commands.share.hub import push as push_folder

    files = push_folder(folder, repository, private)
    _say([f"{repository}: {', '.join(files)}"])


@app.command()
def cache(
    clear: Annotated[list[str] | None, typer.Option(help="empty this room of it; may be repeated")] = None,
    older: Annotated[str, typer.Option(help="with --clear: only what was made longer ago than 12h, 30d, 2w")] = "",
) -> None:
    """What the cache (.cache/lacuna, or $LACUNA_CACHE) holds, by room; with --clear, remove what a room holds."""
    from lacuna.commands import cache as cached
    from lacuna.storage.cache import default_root

    if older and not clear:
        raise MalformedInput("--older: expected beside --clear <room>, found alone")
    if clear:
        _say(cached.clear(default_root(), clear, older))
    else:
        _table(str(default_root()), cached.HEAD, cached.rows(default_root()))


@app.command()
def docs(page: Annotated[str, typer.Argument(help="params: docs/params.md; schema: docs/params.schema.json")]) -> None:
    """Print a page that is made from the code: every key of params.yaml, for people or for editors."""
    from lacuna.commands.docs import params_page
    from lacuna.commands.schema import params_schema

    pages = {"params": params_page, "schema": lambda: json.dumps(params_schema(), indent=1, ensure_ascii=False) + "\n"}
    if page not in pages:
        raise MalformedInput(f"docs: expected one of {', '.join(pages)}; got {page!r}")
    typer.echo(pages[page](), nl=False)


def _say_pairs(pairs: Iterable[tuple[str, object]]) -> None:
    """A name and its value a line, values under one another."""
    known = list(pairs)
    width = max(len(name) for name, _ in known)
    _say(f"{name:<{width}}  {value}" for name, value in known)


def _say(lines: Iterable[str]) -> None:
    """Lines as they are: not wrapped."""
    for line in lines:
        console.print(shown(line), soft_wrap=True)


if __name__ == "__main__":
    main()
