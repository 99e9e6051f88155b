"""Stage prepare: raw/<dataset> → clips.jsonl, rejects.csv with what was refused and why, and layout.json."""

from pathlib import Path

from lacuna.data.samples import write_clips
from lacuna.data.task import Layout
from lacuna.params import load_params
from lacuna.prepare.rejects import check_share, write_rejects
from lacuna.prepare.run import classes_of, layout_of, name_of, prepare
from lacuna.source.closure import digest, plugin_file
from lacuna.stages import run_stage
from lacuna.types import counted


def main(dataset: str) -> None:
    params = load_params()
    settings, raw, out = params.prepare.of(dataset), Path("raw", dataset), Path("processed", dataset)
    clips, rejects = prepare(raw, dataset, settings, params.workers)
    write_rejects(out / "rejects.csv", rejects)
    print(f"{dataset}: {counted(len(clips), 'clip')} accepted, {len(rejects)} refused ({out / 'rejects.csv'})")
    check_share(rejects, len(clips) + len(rejects), settings.max_rejects, out / "rejects.csv")
    write_clips(out / "clips.jsonl", clips)
    # Features that the raw data give are read by the layout's own code, so extraction depends on it, and only then.
    layout = layout_of(raw)
    code = digest([plugin_file("datasets", name_of(layout))]) if hasattr(layout, "features") else None
    Layout(name_of(layout), code, classes_of(layout, settings)).write(out)


if __name__ == "__main__":
    run_stage(main)
