"""Sample: a clip and its features by modality. In: clips.jsonl and features files. Out: samples in memory.

Also what is fitted on samples before a model sees them: the standardising scaler and the frames kept of each modality.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np

from lacuna.storage.features import NOTHING, FeatureFile, Origin
from lacuna.storage.files import check_digest, reading, replacing
from lacuna.types import Clip, FeatureSequence, MalformedInput

TOKEN_COLUMNS = ("input_ids", "attention_mask", "token_type_ids")
HIDDEN_COLUMN = "hidden_0"  # what a BERT-family encoder calls its first output column
TAILED_COLUMN = "tailed_hidden_0"  # the same of an encoder whose special tokens both stand at the end
LOST_TOKEN = -1  # the id of a lost word: each text encoder puts its own [UNK] there


# Clips and which frames of each survive, (T,) bool -> their sequences, made of what was left.
Again = Callable[[Sequence[Clip], Sequence[np.ndarray]], list[FeatureSequence]]


@dataclass(frozen=True)
class Sample:
    """A clip and {modality: FeatureSequence}; a modality that the clip has not is a sequence without frames.

    `again` makes a modality's features anew after a loss, where what is lost would show through its neighbours;
    `others` are the samples of the same split that contradict this one (another class, another sign of the score).
    """

    clip: Clip
    features: dict[str, FeatureSequence]
    again: Mapping[str, Again] = field(default_factory=dict)
    others: Sequence[Sample] = field(default=(), repr=False, compare=False)


def is_tokens(sequence: FeatureSequence) -> bool:
    """Whether a text sequence holds token ids (to be encoded by the model) and not embeddings."""
    return sequence.columns == TOKEN_COLUMNS


def specials(sequence: FeatureSequence) -> np.ndarray:
    """(T,) bool: which positions are no words but special tokens, of token ids or the hidden states of such.

    BERT's stand at both ends ([CLS] and [SEP]), XLNet's both at the end (<sep> and <cls>, of segment 2).
    """
    special = np.zeros(len(sequence), bool)
    tailed = sequence.columns[0] == TAILED_COLUMN
    if is_tokens(sequence):
        tailed = len(sequence) > 0 and sequence.values[-1, TOKEN_COLUMNS.index("token_type_ids")] == 2
    if tailed:
        special[-2:] = True
    elif is_tokens(sequence) or sequence.columns[0] == HIDDEN_COLUMN:
        special[:1] = special[-1:] = True
    return special


def write_clips(path: Path, clips: Iterable[Clip]) -> None:
    """One JSON object a line, in order; paths as given (relative to the working directory)."""
    with replacing(path, digest=True) as temporary, temporary.open("w", encoding="utf-8") as file:
        for clip in clips:
            record = asdict(clip) | {"path": None if clip.path is None else clip.path.as_posix()}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")


def read_clips(path: Path) -> list[Clip]:
    """The clips that `prepare` accepted."""
    if not Path(path).is_file():
        raise MalformedInput(f"{path}: expected the clips of a dataset, found none (run `dvc repro prepare`)")
    path, remedy = Path(path), "delete it and run `dvc repro prepare`"
    check_digest(path, remedy)
    with reading(path, "a clip's record in each line", remedy), path.open(encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
        return [Clip(**r | {"path": None if r["path"] is None else Path(r["path"])}) for r in records]


def read_samples(
    folder: Path, extractors: Sequence[str], needed: bool = True
) -> tuple[list[Sample], dict[str, Origin]]:
    """Samples of `processed/<dataset>` with one features file per modality, and {modality: Origin}.

    A modality that the dataset cannot have (sound of still pictures, what given features lack) is left out.
    MalformedInput: one that it might have, that no clip has and that is `needed`; the first clip's reason is told.
    """
    clips = read_clips(folder / "clips.jsonl")
    features: dict[str, dict[str, FeatureSequence]] = {clip.id: {} for clip in clips}
    origins: dict[str, Origin] = {}
    for extractor in extractors:
        with FeatureFile(folder / "features" / f"{extractor}.h5") as file:
            modality = file.origin.modality
            if modality in origins:
                other = origins[modality].extractor
                raise MalformedInput(f"{extractor}: expected one extractor per modality, {other} is {modality} too")
            if file.origin.columns == NOTHING or not (needed or file.lengths().any()):
                continue
            if needed and clips and not file.seen():
                raise MalformedInput(_why_empty(file.path, modality, len(clips)))
            origins[modality] = file.origin
            for clip, sequence in zip(clips, file.many([clip.id for clip in clips])):
                features[clip.id][modality] = sequence
    return [Sample(clip, features[clip.id]) for clip in clips], origins


def _why_empty(path: Path, modality: str, clips: int) -> str:
    """What to say of a features file in which no clip has a frame."""
    rejects = path.with_suffix(".rejects.csv")
    reasons: list[str] = []
    if rejects.is_file():
        with rejects.open(encoding="utf-8-sig", newline="") as file:
            reasons = [row["reason"] for row in csv.DictReader(file) if row.get("reason")]
    first = f"; the first: {reasons[0]}" if reasons else ""
    return (
        f"{path}: expected {modality} of at least one of {clips} clips, found none{first} (see {rejects.name}: mend "
        f"the settings of extract.{path.stem}, or leave {path.stem} out of train.features)"
    )


def of_split(samples: Iterable[Sample], split: str) -> list[Sample]:
    return [sample for sample in samples if sample.clip.split == split]


@dataclass(frozen=True)
class Scaler:
    """Per modality and column, mean and scale of the seen frames of the train split; unseen frames stay zero."""

    mean: dict[str, np.ndarray]
    scale: dict[str, np.ndarray]

    @classmethod
    def fit(cls, samples: Iterable[Sample], modalities: Iterable[str]) -> Scaler:
        samples = list(samples)
        mean, scale = {}, {}
        for modality in modalities:
            rows = np.concatenate([s.features[modality].values[s.features[modality].seen] for s in samples])
            if not len(rows):
                raise MalformedInput(f"{modality}: expected at least one seen frame in the train split, got none")
            mean[modality] = rows.mean(0, dtype=np.float64).astype(np.float32)
            spread = rows.std(0, dtype=np.float64).astype(np.float32)
            # A column that never moves carries nothing: leave its scale alone instead of dividing by dust.
            scale[modality] = np.where(spread > 1e-6 * (1 + np.abs(mean[modality])), spread, 1).astype(np.float32)
        return cls(mean, scale)

    def __call__(self, sample: Sample) -> Sample:
        scaled = {m: self.scaled(m, sequence) for m, sequence in sample.features.items()}
        return replace(sample, features=scaled)

    def scaled(self, modality: str, sequence: FeatureSequence) -> FeatureSequence:
        """One sequence of a modality, which stays as it is where the scaler does not know it."""
        if modality not in self.mean:
            return sequence
        values = (sequence.values - self.mean[modality]) / self.scale[modality]
        # Columns barely seen to move on train may jump elsewhere: ten deviations say all there is to say.
        values = np.clip(values, -10, 10) * sequence.seen[:, None]
        return replace(sequence, values=values.astype(np.float32))


def with_others(samples: Sequence[Sample], classes: int) -> list[Sample]:
    """The samples of a split, each with those that contradict it; `classes` is 0 where labels are scores."""
    kinds = [s.clip.label if classes else float(np.sign(s.clip.label)) for s in samples]
    others: dict[float, list[Sample]] = {kind: [] for kind in kinds if kind == kind}
    made = [replace(sample, others=others.get(kind, ())) for sample, kind in zip(samples, kinds)]
    for kind, members in others.items():
        neutral = kind if classes else 0.0  # a score of 0 contradicts nobody
        members.extend(sample for sample, other in zip(made, kinds) if other not in (kind, neutral))
    return made


def polarity(sample: Sample) -> Sample:
    """Scores as the classes 0 negative, 1 neutral, 2 positive."""
    labels = {name: float(np.sign(value)) + 1 for name, value in sample.clip.labels.items()}
    return replace(sample, clip=replace(sample.clip, labels=labels))


def batches_of(samples: Sequence[Sample], size: int) -> Iterator[list[Sample]]:
    for start in range(0, len(samples), size):
        yield list(samples[start : start + size])
