"""What the extract stage costs beside the bare libraries, with workers, with a full cache, and in memory.

    python benchmarks/extraction.py [stage workers cached memory window prepare] [--clips 120] [--rounds 3]
                                    [--extractors face librosa]

In: clips made here (the astronaut's face in motion, a gliding tone). Out: a table of ratios, medians over rounds, of
processor time (which a busy machine disturbs less) and of wall time (which counts on an idle one).

- stage: the stage, reading, hashing, caching and writing, over a loop of bare library calls on the same files; both in
  fresh processes, whose imports are not counted; each builds its model once. Aim: at most 1.15.
- workers: the stage with one worker over the stage with two, starts of processes included. Aim: at least 1.6 x faster.
  On a busy machine look at processor time: what two spend more than one is what each of them adds. Wall time
  then says too little, if the others do as much in both: of two cores that n > 1 others share one worker gets
  2 / (n + 1) and two get 4 / (n + 2), less than twice as much.
- cached: the stage with 1 new clip beside 200 cached ones over the same clip alone. Aim: at most 1.5.
- window: how much of two workers' time is work while one of them has an item that takes as long as 100 of the others
  (items sleep: a busy machine disturbs little); below, with four items a worker under way. Aim: at least 0.95.
- prepare: a clip's check by `prepare`, over checks that open the file for each question. Aim: at most 0.7.
- memory: peak of a worker for a clip of 10 minutes over that of 10 seconds. Aim: at most 1.1.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SETTINGS = {"face": {"backend": "mesh", "fps": 25}, "librosa": {"recipe": "sims33"}}
RATE, FPS, SIZE, AUDIO = 22050, 25, 320, 44100
CACHED = 200  # clips that are there before the one that is added
LOOP = 10.04  # s from one turn of a looped clip to the next: sound outlasts its 10 s by a packet


def make_clip(path: Path, seconds: float, number: int, size: int = SIZE) -> Path:
    """The astronaut's head drifting, H.264, with a tone, AAC; `number` makes each file another."""
    from skimage.data import astronaut

    path.parent.mkdir(parents=True, exist_ok=True)
    picture = astronaut()
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        sound = container.add_stream("aac", rate=AUDIO, layout="mono")
        for i in range(round(seconds * FPS)):
            x = 64 + round(20 * np.sin(i / 6 + number))
            shown = np.ascontiguousarray(picture[0:320, x : x + 320])
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24").reformat(size, size, "yuv420p")
            container.mux(video.encode(frame))
        container.mux(video.encode())
        times = np.arange(round(seconds * AUDIO)) / AUDIO
        tone = (0.3 * np.sin(2 * np.pi * (180 + 5 * number) * times + 30 * np.sin(2 * times))).astype(np.float32)
        for begin in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 1024], format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO, begin, Fraction(1, AUDIO)
            container.mux(sound.encode(frame))
        container.mux(sound.encode())
    return path


def loop_clip(source: Path, path: Path, times: int) -> Path:
    """The same packets over and over: a long file in no time."""
    shift = {}
    with av.open(str(path), "w") as out:
        for turn in range(times):
            with av.open(str(source)) as container:
                kinds = {s.type: s for s in container.streams}
                if not turn:
                    streams = {kind: out.add_stream_from_template(s) for kind, s in kinds.items()}
                    shift = {kind: round(LOOP / s.time_base) for kind, s in kinds.items()}
                for packet in container.demux(*kinds.values()):
                    if packet.dts is None:
                        continue
                    kind = packet.stream.type
                    packet.pts, packet.dts = packet.pts + turn * shift[kind], packet.dts + turn * shift[kind]
                    packet.stream = streams[kind]
                    out.mux(packet)
    return path


def project(folder: Path, paths: list[Path], extractor: str, workers: int) -> None:
    """A folder in which the stage finds these clips accepted and these settings."""
    import yaml

    from lacuna.data.samples import write_clips
    from lacuna.types import Clip

    raw = folder / "raw" / "bench"
    raw.mkdir(parents=True, exist_ok=True)
    (raw / "label.csv").write_text("video_id,clip_id,text,label,annotation,mode\n")
    (raw / "Raw").mkdir(exist_ok=True)
    clips = [Clip(f"v$_${p.stem}", "bench", "train", "good", path=p.resolve()) for p in paths]
    write_clips(folder / "processed" / "bench" / "clips.jsonl", clips)
    values = {"datasets": ["bench"], "models": [], "seeds": [1], "workers": workers, "export": {"features": []}}
    values |= {"extract": {"extractors": [extractor], extractor: SETTINGS[extractor]}, "train": {"features": []}}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


def bare_face(paths: list[Path]) -> None:
    """Decode and run the face landmarker, as the extractor is set."""
    from lacuna.extractors._openface.landmarker import Landmarker
    from lacuna.media import decode

    landmarker = Landmarker()
    for path in paths:
        landmarker.start()
        for frame in decode.frames(path, fps=FPS):
            landmarker(frame.image, frame.time)


def bare_librosa(paths: list[Path]) -> None:
    """Decode and call librosa for the 33 columns."""
    import librosa

    from lacuna.media import decode

    for path in paths:
        y = decode.audio(path, RATE)
        librosa.feature.zero_crossing_rate(y, frame_length=2048, hop_length=512)
        librosa.feature.mfcc(y=y, sr=RATE, n_mfcc=20, htk=True, hop_length=512, n_fft=2048)
        librosa.feature.chroma_cqt(y=y, sr=RATE, hop_length=512)


BARE: dict[str, Callable[[list[Path]], None]] = {"face": bare_face, "librosa": bare_librosa}


def one(task: str, extractor: str, folder: Path) -> dict[str, float]:
    """In a process of its own: `bare`, `stage`, or `peak` of the clips of `folder`; seconds and MiB."""
    if task == "peak":
        from lacuna.extract.cached import Extraction
        from lacuna.types import Clip

        (path,) = sorted(folder.glob("*.mp4"))
        extraction, clip = (
            Extraction(extractor, SETTINGS[extractor], folder / "cache"),
            Clip("v", "bench", "train", path=path),
        )
        extraction.fill(clip, extraction.key(clip))
        return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    os.chdir(folder)
    from lacuna.commands.extract import extract
    from lacuna.data.samples import read_clips
    from lacuna.params import load_params

    params, paths = load_params(), [c.path for c in read_clips(Path("processed/bench/clips.jsonl"))]
    BARE[extractor](paths[:1])  # imports and compiles, not counted
    processor, wall = time.process_time(), time.perf_counter()
    list(extract(params, "bench", [extractor], "")) if task == "stage" else BARE[extractor](paths)
    return {"cpu": time.process_time() - processor, "wall": time.perf_counter() - wall}


def fresh(*words: str, cwd: Path | None = None, cache: Path | None = None) -> dict[str, float]:
    """Run a command in a fresh process: what it says, with the whole process's (and its children's) own seconds."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "LACUNA_CACHE": str(cache or "unused")}
    start = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, check=True, stdout=-1, stderr=-3, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    own = {"cpu": spent, "wall": time.perf_counter() - start}
    return own | (json.loads(told.stdout.splitlines()[-1]) if "--one" in words else {})


def row(name: str, above: list[dict[str, float]], below: list[dict[str, float]], aim: str, unit: str = "s") -> None:
    """Print medians and the median ratio of each clock (or of memory)."""
    for clock in ("cpu", "wall") if "cpu" in above[0] else ("peak",):
        ratio = statistics.median(a[clock] / b[clock] for a, b in zip(above, below))
        first, second = (statistics.median(x[clock] for x in xs) for xs in (above, below))
        print(f"| {name} | {clock} | {first:.2f} {unit} | {second:.2f} {unit} | {ratio:.2f} | {aim} |", flush=True)


def measure_stage(folder: Path, extractor: str, clips: list[Path], rounds: int) -> None:
    spent: dict[str, list[dict[str, float]]] = {"stage": [], "bare": []}
    for turn in range(rounds):
        place = folder / f"stage-{extractor}-{turn}"
        project(place, clips, extractor, 1)
        for task, times in spent.items():
            times.append(fresh(__file__, "--one", task, extractor, str(place), cache=place / "cache"))
    row(f"{extractor}: stage / bare, {len(clips)} clips", spent["stage"], spent["bare"], "<= 1.15")


def stage_in(place: Path, extractor: str, clips: list[Path], workers: int, cache: Path) -> dict[str, float]:
    """The whole command, start and imports included."""
    project(place, clips, extractor, workers)
    script = Path(__file__).resolve().parents[1] / "pipeline" / "extract.py"
    return fresh(str(script), "bench", extractor, cwd=place, cache=cache)


def measure_workers(folder: Path, extractor: str, clips: list[Path], rounds: int) -> None:
    spent: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for turn in range(rounds):
        for workers, times in spent.items():
            place = folder / f"workers-{extractor}-{turn}-{workers}"
            times.append(stage_in(place, extractor, clips, workers, place / "cache"))
    name = f"{extractor}: 1 worker / 2, {len(clips)} clips, load {os.getloadavg()[1]:.1f}"
    row(name, spent[1], spent[2], "wall >= 1.6")


def measure_cached(folder: Path, extractor: str, clips: list[Path], rounds: int) -> None:
    shared = folder / f"cached-{extractor}"
    stage_in(shared, extractor, clips, 2, shared / "cache")
    spent: dict[str, list[dict[str, float]]] = {"added": [], "alone": []}
    for turn in range(rounds):
        new = make_clip(folder / "new" / f"{extractor}{turn}.mp4", 3, 1000 + turn)
        spent["added"].append(stage_in(shared, extractor, [*clips, new], 2, shared / "cache"))
        place = folder / f"alone-{extractor}-{turn}"
        spent["alone"].append(stage_in(place, extractor, [new], 2, place / "cache"))
    row(f"{extractor}: 1 clip beside {len(clips)} cached / alone", spent["added"], spent["alone"], "<= 1.5")


def measure_memory(folder: Path, extractor: str) -> None:
    small = make_clip(folder / "short" / "clip.mp4", 10, 0, 160)
    (folder / "long").mkdir(exist_ok=True)
    loop_clip(small, folder / "long" / "clip.mp4", 60)
    spent = [[fresh(__file__, "--one", "peak", extractor, str(folder / name)) for name in ("long", "short")]]
    row(
        f"{extractor}: 10 min / 10 s", *([{"peak": turn[i]["peak"]} for turn in spent] for i in (0, 1)), "<= 1.1", "MiB"
    )


def measure_window(folder: Path) -> None:
    """The share of two workers' time that is work, while one of them has a long item."""
    from lacuna.compute import workers

    long, short, usual, shares = 3.0, 0.03, workers.WINDOW, []
    for window in (usual, 0):
        workers.WINDOW, meeting = window, str(folder / f"meeting{window}")
        items = [(meeting, 0.0), (meeting, 0.0), ("", long), *[("", short)] * 300]
        _, _, end, *others = workers.map_items(slept, items, 2)
        shares.append((long + short * sum(other < end for other in others)) / (2 * long))
    workers.WINDOW = usual
    print(
        f"| window: 1 long item before 300 short | share | {shares[0]:.2f} | {shares[1]:.2f} | | >= 0.95 |", flush=True
    )


def slept(item: tuple[str, float]) -> float:
    """Wait for the other worker, or for a while; when that was over."""
    meeting, seconds = item
    time.sleep(seconds)
    if meeting:
        Path(meeting, str(os.getpid())).parent.mkdir(exist_ok=True)
        Path(meeting, str(os.getpid())).touch()
        while len(list(Path(meeting).iterdir())) < 2:
            time.sleep(0.01)
    return time.monotonic()


def checked_apart(path: Path) -> None:
    """A file's first picture, the end of its packets and its track, each from the file opened anew."""
    from lacuna.media import container, decode, sound

    next(decode.frames(path))
    with container.opened(path) as file:
        stream = container.stream_of(file, "video")
        decode._reached(file, stream, container.length_of(file) - container.TOLERANCE, True)
    container.lacks_bytes(path)
    sound.track_of(path)


def measure_prepare(clips: list[Path], rounds: int) -> None:
    from lacuna.media import decode

    decode.check(clips[0])  # imports, not counted
    spent: dict[Callable[[Path], object], list[dict[str, float]]] = {decode.check: [], checked_apart: []}
    for _ in range(rounds):
        for check, times in spent.items():
            processor, wall = time.process_time(), time.perf_counter()
            for path in clips:
                check(path)
            cpu, wall = time.process_time() - processor, time.perf_counter() - wall
            times.append({"cpu": 1000 * cpu / len(clips), "wall": 1000 * wall / len(clips)})
    row(f"prepare: a clip's check, {len(clips)} clips", *spent.values(), "<= 0.7", "ms")


def main(given: argparse.Namespace) -> None:
    print("| what | clock | above | below | ratio | aim |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = max(given.clips, CACHED + 1) if "cached" in given.what else given.clips
        decoded = {"stage", "workers", "prepare"} & set(given.what)
        clips = [make_clip(folder / "clips" / f"{i}.mp4", 3, i) for i in range(given.clips if decoded else 0)]
        short = [
            make_clip(folder / "brief" / f"{i}.mp4", 0.5, i) for i in range(count if "cached" in given.what else 0)
        ]
        if "window" in given.what:
            measure_window(folder)
        if "prepare" in given.what:
            measure_prepare(clips, given.rounds)
        for extractor in given.extractors:
            if "stage" in given.what:
                measure_stage(folder, extractor, clips[:40], given.rounds)
            if "workers" in given.what:
                measure_workers(folder, extractor, clips, given.rounds)
            if "cached" in given.what:
                measure_cached(folder, extractor, short, given.rounds)
            if "memory" in given.what:
                measure_memory(folder, extractor)


WHAT = ("stage", "workers", "cached", "memory", "window", "prepare")

if __name__ == "__main__":
    if "--one" in sys.argv:
        task, extractor, folder = sys.argv[2:]
        print(json.dumps(one(task, extractor, Path(folder))))
        sys.exit()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=WHAT, choices=WHAT)
    parser.add_argument("--clips", type=int, default=120, help="of 3 s, for workers; stage takes at most 40 of them")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--extractors", nargs="+", default=list(SETTINGS), choices=SETTINGS)
    main(parser.parse_args())
