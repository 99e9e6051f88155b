"""Stage prepare: raw/<dataset> → clips.jsonl, and rejects.csv with what was refused and why."""

from pathlib import Path

from lacuna.data.samples import write_clips
from lacuna.params import load_params
from lacuna.prepare.rejects import check_share, write_rejects
from lacuna.prepare.run import prepare
from lacuna.stages import run_stage


def main(dataset: str) -> None:
    params = load_params()
    settings, out = params.prepare.of(dataset), Path("processed", dataset)
    clips, rejects = prepare(Path("raw", dataset), dataset, settings, params.workers)
    write_rejects(out / "rejects.csv", rejects)
    print(f"{dataset}: {len(clips)} clips accepted, {len(rejects)} refused ({out / 'rejects.csv'})")
    check_share(rejects, len(clips) + len(rejects), settings.max_rejects, out / "rejects.csv")
    write_clips(out / "clips.jsonl", clips)


if __name__ == "__main__":
    run_stage(main)
