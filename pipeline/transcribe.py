"""Stage transcribe: clips without words → heard.jsonl, their words, times and language, and heard.rejects.csv."""

from pathlib import Path

from lacuna.compute.workers import Engine
from lacuna.data.heard import FILE, write_heard
from lacuna.data.samples import read_clips
from lacuna.params import load_params
from lacuna.prepare.rejects import write_rejects
from lacuna.stages import run_stage
from lacuna.storage.cache import default_root
from lacuna.types import Reject, counted


def main(dataset: str) -> None:
    params, out = load_params(), Path("processed", dataset)
    section, rejects, heard = params.transcribe.of(dataset), list[Reject](), []
    if section.engine != "none":
        from lacuna.transcribe.run import Settings, transcribe  # torch, which a corpus with words does without

        settings = Settings(**section.model_dump(exclude={"per_dataset"}))
        (out / FILE).unlink(missing_ok=True)  # what was heard before is not what came with the clips
        clips = read_clips(out / "clips.jsonl")
        compute = params.compute
        engine = Engine(compute.engine, params.workers, compute.address, compute.retries)
        heard = list(transcribe(clips, settings, default_root(), engine, rejects))
    write_heard(out / FILE, heard)
    write_rejects(out / "heard.rejects.csv", rejects)
    told, words = counted(len(heard), "clip"), sum(bool(one.text) for _, one in heard)
    print(f"{dataset}: {told} heard ({section.engine}), words in {words}; {len(rejects)} could not be read")


if __name__ == "__main__":
    run_stage(main)
