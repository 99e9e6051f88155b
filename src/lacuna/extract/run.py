"""Extract a dataset, whole or in shards. In: params.yaml's values and clips.jsonl. Out: features and rejects.

A shard fills the content-addressed cache and writes nothing else, so that many machines may work at once; whoever then
extracts the whole finds all of it there and writes the same bytes as one machine alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from lacuna.compute.workers import Engine, Lost, map_items, progress
from lacuna.data.samples import read_clips
from lacuna.extract.cached import Extraction, Together, extract
from lacuna.media import decode
from lacuna.params import FINETUNED, TUNED_FILES, Params, plugin
from lacuna.prepare.rejects import write_rejects
from lacuna.prepare.run import check_within, given_features
from lacuna.storage.cache import default_root
from lacuna.storage.features import Origin, write_features
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject, empty_sequence


def engine_of(params: Params) -> Engine:
    """Where params.yaml wants clips to be worked on."""
    return Engine(params.compute.engine, params.workers, params.compute.address, params.compute.retries)


def extract_dataset(params: Params, dataset: str, extractor: str) -> str:
    """Write features/<extractor>.h5 and <extractor>.rejects.csv; the line to print."""
    out = Path("processed", dataset)
    clips, rejects = read_clips(out / "clips.jsonl"), []
    path, longer = out / "features" / f"{extractor}.h5", 0
    given = given_features(Path("raw", dataset), dataset, extractor)
    if given is not None:
        write_features(path, *given)
    elif lacked := _lacked(extractor, clips):
        write_features(path, *_nothing(extractor, lacked, clips))
        reason = f"all {len(clips)} clips are still pictures: kept without {lacked}"
        rejects.append(Reject("*", Path("raw", dataset).as_posix(), reason, extractor))
    else:
        extraction = _extraction(params, dataset, extractor)
        write_features(path, extraction.origin, extract(extraction, clips, engine_of(params), rejects))
        longer = getattr(extraction.extractor, "longer", lambda clips: 0)(clips)
    write_rejects(path.with_suffix(".rejects.csv"), rejects)
    without = len(clips) if any(r.id == "*" for r in rejects) else len(rejects)
    told = f"{dataset}: {extractor} of {len(clips)} clips; {without} have none of it ({path.stem}.rejects.csv)"
    return f"{told}; {longer} texts are cut at max_length" if longer else told


def extract_shard(params: Params, dataset: str, extractor: str, shard: str) -> str:
    """Extract one shard's clips into the cache; the line to print."""
    clips = shard_of(read_clips(Path("processed", dataset, "clips.jsonl")), shard)
    if given_features(Path("raw", dataset), dataset, extractor) is not None:
        return f"{dataset}: {extractor} is given, there is nothing to extract"
    if lacked := _lacked(extractor, clips):
        return f"{dataset}: {extractor} of shard {shard}: still pictures have no {lacked}, there is nothing to extract"
    rejects: list[Reject] = []
    for _ in extract(_extraction(params, dataset, extractor), clips, engine_of(params), rejects):
        pass  # each is in the cache by now
    return (
        f"{dataset}: {extractor} of shard {shard}, {len(clips)} clips, is in the cache; {len(rejects)} have none of it"
    )


def extract_together(params: Params, dataset: str, extractors: Sequence[str], shard: str = "") -> str:
    """Fill the cache with the features of several extractors, each clip being decoded once; the line to print.

    `extract_dataset`, or `extract_shard`, of each then finds all of it there.
    """
    clips = read_clips(Path("processed", dataset, "clips.jsonl"))
    clips = shard_of(clips, shard) if shard else clips
    raw = Path("raw", dataset)
    wanted = [e for e in extractors if given_features(raw, dataset, e) is None and not _lacked(e, clips)]
    both = Together(tuple(_extraction(params, dataset, extractor) for extractor in wanted))
    missing = [clip for clip in clips if both.lacks(clip)]
    failed = 0
    for made in progress(map_items(both, missing, engine_of(params)), len(missing), "together  "):
        failed += isinstance(made, Lost) or any(isinstance(key, MalformedInput) for key in made)
    return f"{dataset}: {', '.join(wanted)} of {len(missing)} clips together, of which {failed} failed in part or whole"


def _extraction(params: Params, dataset: str, extractor: str) -> Extraction:
    values = params.extract.plain_settings(extractor, dataset)
    for key in getattr(plugin("extractors", extractor), "FOLDERS", ()):
        if values.get(key):
            check_within(Path(str(values[key])), Path("raw", dataset), f"extract.{extractor}.{key}")
    tuned = Path("processed", dataset, FINETUNED)
    for key, value in values.items():
        if key in TUNED_FILES and isinstance(value, str) and Path(value).parent == tuned and not Path(value).exists():
            network = "resnet50" if key == "weights" else "bert"
            raise MalformedInput(
                f"extract.{extractor}.{key}: expected weights tuned on {dataset}, found none at {value} (name "
                f"{network} in finetune.networks, then `dvc repro finetune`)"
            )
    return Extraction(extractor, values, default_root())


def _lacked(extractor: str, clips: Sequence[Clip]) -> str:
    """The extractor's modality where no clip of the dataset can have it: sound or video of still pictures."""
    modality = plugin("extractors", extractor).MODALITY
    still = bool(clips) and all(decode.is_picture(clip.path) for clip in clips)
    return modality if still and modality in ("audio", "vision") else ""


def _nothing(
    extractor: str, modality: str, clips: Sequence[Clip]
) -> tuple[Origin, Iterator[tuple[str, FeatureSequence]]]:
    """A features file's content in which no clip has a frame; the extractor itself is not even built."""
    origin = Origin(extractor, modality, ("none",), {}, {})
    return origin, ((clip.id, empty_sequence(origin.columns)) for clip in clips)


def shard_of(clips: Sequence[Clip], shard: str) -> list[Clip]:
    """Every n-th clip from the k-th, for "k/n" with 1 <= k <= n: neighbours are often alike in length, so they part."""
    match = re.fullmatch(r"(\d+)/(\d+)", shard)
    k, n = map(int, match.groups()) if match else (0, 0)
    if not 1 <= k <= n:
        raise MalformedInput(f"shard: expected k/n with 1 <= k <= n, as in 3/64, got {shard!r}")
    return list(clips[k - 1 :: n])
