"""MMSA's pickles. In: samples and their tokens, or a pickle. Out: the pickle that MMSA's own loader reads, or features.

A file holds {"train", "valid", "test"}, and under "lacuna" what a pickle of MMSA's cannot tell: column names, settings,
times, which frames were seen and true lengths, so that HDF5 → pickle → HDF5 loses nothing. MMSA does not look there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from lacuna.data.samples import LOST_TOKEN, Sample, is_tokens, specials
from lacuna.storage import pickles
from lacuna.storage.features import Origin, replacing
from lacuna.types import SPLITS, FeatureSequence, MalformedInput

# SHA-256 of the files that papers were written with
OFFICIAL = {
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI unaligned_50",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI aligned_50",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI unaligned_50",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI aligned_50",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS unaligned_39",
}
CLS, SEP, UNK = 101, 102, 100  # ids shared by BERT's English and Chinese vocabularies, which MMSA supposes
KINDS = {"tokens": "text_bert", "text": "text", "audio": "audio", "vision": "vision"}  # ours → MMSA's key
_ANNOTATIONS = ("Negative", "Neutral", "Positive")
_BATCH_SIZES = (16, 32, 64, 128)


class Tokens(Protocol):
    """Token ids by clip id: a FeatureFile of them, or a dict."""

    origin: Origin

    def __getitem__(self, clip_id: str) -> FeatureSequence: ...


@dataclass(frozen=True)
class Settings:
    """lengths: {"text", "audio", "vision": frames kept, or "auto" for MMSA-FET's rule on train}; the longest if absent.

    aligned: audio and vision have a frame for each token, and no lengths are written. incomplete: also write masks.
    """

    lengths: Mapping[str, int | Literal["auto"]] = field(default_factory=dict)
    aligned: bool = False
    incomplete: bool = False


@dataclass(frozen=True)
class Written:
    """What a pickle came to: clips by split, frames kept, clips cut by modality, and what its reader should know."""

    clips: dict[str, int]
    lengths: dict[str, int]
    cuts: dict[str, int]
    notes: tuple[str, ...]


def fet_length(lengths: Sequence[int]) -> int:
    """MMSA-FET's rule: mean plus three standard deviations of the lengths, at least 1."""
    return max(1, int(np.mean(lengths) + 3 * np.std(lengths)))


def dump(
    path: Path, samples: Sequence[Sample], tokens: Tokens, origins: Mapping[str, Origin], settings: Settings
) -> Written:
    """Write `samples` (features text, audio, vision) and their `tokens` as MMSA_PICKLE; the same bytes on every run.

    A clip outside the three splits or without a label is left out. MalformedInput: a split without clips, or, where
    `aligned`, a clip whose audio or vision has another number of frames than tokens.
    """
    usable = [(i, s) for i, s in enumerate(samples) if "M" in s.clip.labels]
    rows = {split: [_row(i, s, tokens) for i, s in usable if s.clip.split == split] for split in SPLITS}
    for split, members in rows.items():
        if not members:
            raise MalformedInput(f"{path}: expected clips with labels in train, valid and test, got none in {split}")
    origins = {"tokens": tokens.origin} | {m: origins[m] for m in KINDS if m in origins}
    if settings.aligned:
        _check_aligned(rows, origins)
    lengths = _lengths(rows, origins, settings)
    cuts = {kind: sum(len(row[kind]) > lengths[kind] for part in rows.values() for row in part) for kind in origins}
    rows = {split: [_cut_row(row, lengths, settings.aligned) for row in part] for split, part in rows.items()}
    content = {split: _split(members, origins, lengths, settings) for split, members in rows.items()}
    kept = {split: _kept(members, origins) for split, members in rows.items()}
    own = {"layout": 1, "origins": {kind: json.dumps(asdict(o), sort_keys=True) for kind, o in origins.items()}, **kept}
    with replacing(path) as temporary, temporary.open("wb") as file:
        pickles.dumps_to(file, content | {"lacuna": own})
    counts = {split: len(members) for split, members in rows.items()}
    return Written(counts, lengths, cuts, _notes(samples, rows, origins))


Row = dict  # {"place": int, "sample": Sample, kind: FeatureSequence}


def _row(place: int, sample: Sample, tokens: Tokens) -> Row:
    given = tokens[sample.clip.id]
    if len(given) and not is_tokens(given):
        raise MalformedInput(f"clip {sample.clip.id}: expected token ids for text_bert, got {given.columns[0]}, …")
    return {"place": place, "sample": sample, "tokens": given, **sample.features}


def _check_aligned(rows: dict[str, list[Row]], origins: Mapping[str, Origin]) -> None:
    for row in (row for members in rows.values() for row in members):
        for kind in origins:
            if len(row[kind]) not in (0, len(row["tokens"])):
                clip, expected = row["sample"].clip.id, len(row["tokens"])
                raise MalformedInput(f"clip {clip}: expected {expected} frames of aligned {kind}, got {len(row[kind])}")


def _lengths(rows: dict[str, list[Row]], origins: Mapping[str, Origin], settings: Settings) -> dict[str, int]:
    """Most frames kept of each kind; text's tokens and embeddings have the same, and so has all that is aligned."""
    result = {}
    for kind in origins:
        name = "text" if kind == "tokens" or settings.aligned else kind
        source = "tokens" if name == "text" else kind
        longest = max(1, *(len(row[source]) for members in rows.values() for row in members))
        wanted = settings.lengths.get(name, longest)
        if wanted == "auto":
            wanted = fet_length([len(row[source]) for row in rows["train"]])
        if not (isinstance(wanted, int) and wanted >= 1):
            raise MalformedInput(f"lengths.{name}: expected at least 1 frame, or auto; got {wanted!r}")
        result[kind] = wanted
    return result


def _cut_row(row: Row, lengths: dict[str, int], aligned: bool) -> Row:
    """The row with its sequences cut; what [SEP] closes, or has a frame for it, stays closed by it."""
    result = dict(row)
    closing = int(specials(row["tokens"])[-2:].sum())
    for kind, most in lengths.items():
        sequence = row[kind]
        if len(sequence) > most:
            kept = np.arange(most)
            if closing and (aligned or specials(sequence).any()):
                kept[-closing:] = np.arange(len(sequence) - closing, len(sequence))[-most:]
            parts = (sequence.values[kept], sequence.times[kept], sequence.seen[kept])
            result[kind] = FeatureSequence(*parts, sequence.columns)
    return result


def _split(rows: list[Row], origins: Mapping[str, Origin], lengths: dict[str, int], settings: Settings) -> dict:
    clips = [row["sample"].clip for row in rows]
    scores = np.array([clip.labels["M"] for clip in clips], np.float32)
    signs = np.sign(scores).astype(np.int64) + 1
    content: dict[str, object] = {
        "raw_text": [clip.text for clip in clips],
        "id": [clip.id for clip in clips],
        "annotations": [_ANNOTATIONS[sign] for sign in signs],
        "classification_labels": signs,
        "regression_labels": scores,
    }
    for name in "TAV":
        if all(name in clip.labels for clip in clips):
            content[f"regression_labels_{name}"] = np.array([clip.labels[name] for clip in clips], np.float32)
    # MISA packs audio and vision with the text's length: their padding must reach as far.
    text = lengths["tokens"]
    content["text_bert"] = np.stack([_bert(row["tokens"], text) for row in rows])
    for kind in ("text", "audio", "vision"):
        if kind not in origins:
            if kind != "text":
                content[kind] = np.zeros((len(rows), text, 1), np.float32)
                content[f"{kind}_lengths"] = [1] * len(rows)
            continue
        padded = max(text, lengths[kind])
        content[kind] = np.stack([_padded(row[kind].values, padded) for row in rows])
        if kind != "text":
            content[f"{kind}_lengths"] = [max(1, len(row[kind])) for row in rows]
    if settings.incomplete:
        content |= _missing(rows, content)
    if settings.aligned:
        content = {key: value for key, value in content.items() if not key.endswith("_lengths")}
    return content


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((length - len(values), *values.shape[1:]), values.dtype)])


def _bert(tokens: FeatureSequence, length: int) -> np.ndarray:
    """(3, length) ids, mask, segments. No words are [CLS] [SEP], because an all-zero mask breaks MISA."""
    values = np.where(tokens.values == LOST_TOKEN, UNK, tokens.values)
    if not len(values):
        values = np.array([[CLS, 1, 0], [SEP, 1, 0]], np.int64)[:length]
    return _padded(values, length).T


def _missing(rows: list[Row], content: Mapping[str, object]) -> dict[str, np.ndarray]:
    """Masks (N, T), 1 where a frame is present, and the share of real frames that is not, (N, 1)."""
    result = {}
    for letter, kind, source in (("l", "text", "tokens"), ("a", "audio", "audio"), ("v", "vision", "vision")):
        padded = content["text_bert"].shape[2] if kind == "text" else content[kind].shape[1]
        masks, rates = np.zeros((len(rows), padded), np.int64), np.zeros((len(rows), 1), np.float32)
        for i, row in enumerate(rows):
            seen = row[source].seen if source in row else np.zeros(0, bool)
            masks[i, : len(seen)] = seen
            rates[i] = 1 - seen.mean() if len(seen) else 1
        result[f"{kind}_missing_mask"], result[f"missing_rate_{letter}"] = masks, rates
    return result


def _kept(rows: list[Row], origins: Mapping[str, Origin]) -> dict[str, object]:
    """Places among the samples, labels in full; per kind true lengths (N,), times and seen of all frames."""
    result: dict[str, object] = {"places": np.array([row["place"] for row in rows], np.int64)}
    result["labels"] = [json.dumps(row["sample"].clip.labels, sort_keys=True) for row in rows]
    for kind in origins:
        result[f"{kind}_lengths"] = np.array([len(row[kind]) for row in rows], np.int64)
        result[f"{kind}_times"] = np.concatenate([row[kind].times for row in rows]).astype(np.float64)
        result[f"{kind}_seen"] = np.concatenate([row[kind].seen for row in rows])
    return result


def _notes(samples: Sequence[Sample], rows: dict[str, list[Row]], origins: Mapping[str, Origin]) -> tuple[str, ...]:
    """What MMSA would stumble over, and what is not in the file."""
    notes = []
    left = len(samples) - sum(map(len, rows.values()))
    if left:
        notes.append(f"{left} clips without a split or a label are not in it")
    notes += [f"{kind}: the clips have none; zeros of width 1" for kind in ("audio", "vision") if kind not in origins]
    count = len(rows["train"])
    sizes = [size for size in _BATCH_SIZES if count % size == 1]
    if sizes:
        notes.append(f"{count} training clips leave a last batch of one at batch size {sizes}: MISA cannot train on it")
    notes += _lacks(rows)
    for split, members in rows.items():
        if not any(row["sample"].clip.labels["M"] for row in members):
            notes.append(f"{split}: no label differs from 0: MMSA's metrics of MOSI fail")
    return tuple(notes)


def _lacks(rows: dict[str, list[Row]]) -> Iterator[str]:
    """Unimodal labels that are left out because some clips have none, and words where there are none at all."""
    for name in "TAV":
        counts = {split: sum(name in row["sample"].clip.labels for row in part) for split, part in rows.items()}
        told = [f"{counts[split]} of {len(part)} {split}" for split, part in rows.items() if counts[split] < len(part)]
        if told and any(counts.values()):
            yield f"regression_labels_{name}: left out where not every clip has one ({', '.join(told)} clips do)"
    if not any(len(row["tokens"]) for part in rows.values() for row in part):
        yield "text: no clip has words; each is [CLS] [SEP]"


@dataclass(frozen=True)
class Pickle:
    """A pickle that has been read and checked; `own` is what Lacuna wrote beside MMSA's keys, None in others' files.

    splits: {split: {MMSA's key: arrays or lists of N}}; official: which published file it is, "" for none of them.
    """

    path: Path
    sha256: str
    official: str
    splits: dict[str, dict[str, object]]
    own: dict[str, object] | None

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Which of "tokens", "text", "audio", "vision" it holds, and not as mere zeros."""
        train = self.splits["train"]
        return tuple(kind for kind, key in KINDS.items() if key in train and any(map(np.any, train[key])))


def load(path: Path) -> Pickle:
    """Read MMSA's or MMSA-FET's pickle; MalformedInput names the key, what it must be and what it is."""
    content = pickles.load(path)
    if not isinstance(content, dict):
        raise MalformedInput(f"{path}: expected a dict of train, valid and test, got {type(content).__name__}")
    widths: dict[str, int] = {}
    for split in SPLITS:
        if not isinstance(content.get(split), dict):
            raise MalformedInput(
                f"{path}: expected a dict under {split!r}, got {', '.join(map(str, content)) or 'nothing'}"
            )
        try:
            _check_split(content[split], widths)
        except MalformedInput as error:
            raise MalformedInput(f"{path}: {split}: {error}") from error
    digest = _sha256(path)
    splits = {split: content[split] for split in SPLITS}
    return Pickle(Path(path), digest, OFFICIAL.get(digest, ""), splits, content.get("lacuna"))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check_split(content: dict[str, object], widths: dict[str, int]) -> None:
    for key in ("id", "regression_labels"):
        if key not in content:
            raise MalformedInput(f"expected the key {key!r}, got {', '.join(map(str, content)) or 'nothing'}")
    count = len(content["id"])
    present = [key for key in KINDS.values() if key in content]
    if not present:
        raise MalformedInput(f"expected features under {', '.join(KINDS.values())}, got {', '.join(map(str, content))}")
    for key in present:
        value = content[key]
        if not (isinstance(value, np.ndarray) and value.ndim == 3 and value.dtype.kind in "fiu"):
            found = f"{value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
            raise MalformedInput(f"{key}: expected a numeric array (N, T, D), got {found}")
        if key == "text_bert" and value.shape[1] != 3:
            raise MalformedInput(f"text_bert: expected (N, 3, T): ids, mask, segments; got {value.shape}")
        width = value.shape[1 if key == "text_bert" else 2]
        if widths.setdefault(key, width) != width:
            raise MalformedInput(f"{key}: expected {widths[key]} columns as in train, got {width}")
    per_clip = (*present, "raw_text", "regression_labels", "audio_lengths", "vision_lengths")
    per_clip += tuple(f"regression_labels_{name}" for name in "TAV")
    for key in per_clip:
        if key in content and (not hasattr(content[key], "__len__") or len(content[key]) != count):
            found = len(content[key]) if hasattr(content[key], "__len__") else repr(content[key])
            raise MalformedInput(f"{key}: expected {count} rows, as many as id has; got {found}")
