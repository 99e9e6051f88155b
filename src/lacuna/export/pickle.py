"""MMSA's pickles. In: samples and their tokens, or a pickle. Out: the pickle that MMSA's own loader reads, or features.

A file holds {"train", "valid", "test"}, and under "lacuna" what a pickle of MMSA's cannot tell: column names, settings,
times, which frames were seen and true lengths, so that HDF5 → pickle → HDF5 loses nothing. MMSA does not look there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from lacuna.data.samples import Samples
from lacuna.export.content import KINDS, check_own, check_split
from lacuna.storage import pickles
from lacuna.storage.features import Origin
from lacuna.storage.files import reading, replacing
from lacuna.storage.pickles import Rows
from lacuna.types import LOST_TOKEN, SPLITS, TOKEN_COLUMNS, Clip, FeatureSequence, MalformedInput, counted, specials

# SHA-256 of the files that papers were written with
OFFICIAL = {
    "78e0f8b5ef8ff71558e7307848fc1fa929ecb078203f565ab22b9daab2e02524": "MOSI unaligned_50",
    "d3994fd25681f9c7ad6e9c6596a6fe9b4beb85ff7d478ba978b124139002e5f9": "MOSI aligned_50",
    "ad8b23d50557045e7d47959ce6c5b955d8d983f2979c7d9b7b9226f6dd6fec1f": "MOSEI unaligned_50",
    "45eccfb748a87c80ecab9bfac29582e7b1466bf6605ff29d3b338a75120bf791": "MOSEI aligned_50",
    "c9e20c13ec0454d98bb9c1e520e490c75146bfa2dfeeea78d84de047dbdd442f": "SIMS unaligned_39",
}
CLS, SEP, UNK = 101, 102, 100  # ids shared by BERT's English and Chinese vocabularies, which MMSA supposes
_ANNOTATIONS = ("Negative", "Neutral", "Positive")
_BATCH_SIZES = (16, 32, 64, 128)


@dataclass(frozen=True)
class Settings:
    """lengths: {"text", "audio", "vision": frames kept, or "auto" for MMSA-FET's rule on train}; the longest if absent.

    aligned: audio and vision have a frame for each token, and no lengths are written. incomplete: also write masks.
    notes: what a reader of the file must know of its features.
    """

    lengths: Mapping[str, int | Literal["auto"]] = field(default_factory=dict)
    aligned: bool = False
    incomplete: bool = False
    notes: tuple[str, ...] = ()


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


def dump(path: Path, samples: Samples, origins: Mapping[str, Origin], settings: Settings) -> Written:
    """Write `samples` (features text, audio, vision, and their tokens) as MMSA_PICKLE; the same bytes on every run."""
    return Dump(path, samples, origins, settings).write()


class Dump:
    """A pickle that is to be written. `size` is known before: its arrays are made while they are written.

    A clip outside the three splits or without a label is left out. MalformedInput: a split without clips, or, where
    `aligned`, a clip whose audio or vision has another number of frames than tokens.
    """

    def __init__(self, path: Path, samples: Samples, origins: Mapping[str, Origin], settings: Settings) -> None:
        self.path, self.settings, self.samples = path, settings, samples
        self.origins = {kind: origins[kind] for kind in KINDS if kind in origins}
        self.places = {
            split: [i for i, clip in enumerate(samples.clips) if clip.split == split and "M" in clip.labels]
            for split in SPLITS
        }
        for split, members in self.places.items():
            if not members:
                raise MalformedInput(
                    f"{path}: expected clips with labels in train, valid and test, got none in {split}"
                )
        tokens = samples.stores["tokens"]
        if tokens.columns != TOKEN_COLUMNS:
            raise MalformedInput(f"{path}: expected token ids for text_bert, got {tokens.columns[0]}, …")
        self._everyone = [i for members in self.places.values() for i in members]
        if settings.aligned:
            self._leave_out_other_words()
            self._check_aligned()
        self.lengths = self._lengths()
        self._content = {split: self._split(members) for split, members in self.places.items()}
        self._own = {split: self._kept(members) for split, members in self.places.items()}

    @property
    def size(self) -> int:
        """Bytes of its arrays."""
        parts = [*self._content.values(), *self._own.values()]
        return sum(value.nbytes for part in parts for value in part.values() if isinstance(value, Rows | np.ndarray))

    def write(self) -> Written:
        """Write the file, holding a clip at a time."""
        origins = {kind: json.dumps(asdict(o), sort_keys=True) for kind, o in self.origins.items()}
        own = {"layout": 1, "origins": origins, **self._own}
        own |= {"notes": list(self.settings.notes)} if self.settings.notes else {}
        with replacing(self.path) as temporary, temporary.open("wb") as file:
            pickles.dumps_to(file, self._content | {"lacuna": own})
        counts = {split: len(members) for split, members in self.places.items()}
        cuts = {k: int((self._counted(k, self._everyone) > most).sum()) for k, most in self.lengths.items()}
        notes = (*_notes(self.samples.clips, self.places, self.origins), *_lacks(self.samples, self.places))
        return Written(counts, self.lengths, cuts, (*self.settings.notes, *notes))

    def _counted(self, kind: str, places: Sequence[int]) -> np.ndarray:
        """(N,) frames before any cut."""
        return self.samples.stores[kind].lengths[np.asarray(places)]

    def _leave_out_other_words(self) -> None:
        """Text of other tokens (a language model's own) has no place beside frames that are one a token."""
        if "text" not in self.origins:
            return
        given, wanted = (self._counted(kind, self._everyone) for kind in ("text", "tokens"))
        if ((given != 0) & (given != wanted)).any():
            told = f"text: {self.origins.pop('text').extractor} has other tokens than `tokens` (another `source` or "
            self.settings = replace(self.settings, notes=(*self.settings.notes, f"{told}`max_length`): left out"))

    def _check_aligned(self) -> None:
        wanted = self._counted("tokens", self._everyone)
        for kind in self.origins:
            given = self._counted(kind, self._everyone)
            for i in np.flatnonzero((given != 0) & (given != wanted)):
                clip = self.samples.clips[self._everyone[i]].id
                told = f"clip {clip}: expected {wanted[i]} frames of aligned {kind}, got {given[i]}"
                raise MalformedInput(f"{told} (one a token: run `dvc repro align`)")

    def _lengths(self) -> dict[str, int]:
        """Most frames kept of each kind; text's tokens and embeddings have the same, and so has all that is aligned."""
        result = {}
        for kind in self.origins:
            name = "text" if kind == "tokens" or self.settings.aligned else kind
            source = "tokens" if name == "text" else kind
            wanted = self.settings.lengths.get(name, max(1, int(self._counted(source, self._everyone).max())))
            if wanted == "auto":
                wanted = fet_length(self._counted(source, self.places["train"]).tolist())
            if not (isinstance(wanted, int) and wanted >= 1):
                raise MalformedInput(f"lengths.{name}: expected at least 1 frame, or auto; got {wanted!r}")
            result[kind] = wanted
        return result

    def _sequence(self, kind: str, place: int, marked: bool = False) -> FeatureSequence:
        """A sequence after its cut (`marked`: without values); what [SEP] closes stays closed."""
        store, most = self.samples.stores[kind], self.lengths[kind]
        sequence = store.marked(place) if marked else store[place]
        if len(sequence) <= most:
            return sequence
        kept = np.arange(most)
        closing = int(specials(self.samples.stores["tokens"][place])[-2:].sum())
        if closing and (self.settings.aligned or specials(sequence).any()):
            kept[-closing:] = np.arange(len(sequence) - closing, len(sequence))[-most:]
        parts = (sequence.values[kept], sequence.times[kept], sequence.seen[kept])
        return FeatureSequence.unchecked(*parts, sequence.columns)

    def _frames(self, kind: str, places: Sequence[int]) -> list[int]:
        """Frames after the cut."""
        return np.minimum(self._counted(kind, places), self.lengths[kind]).tolist()

    def _split(self, places: list[int]) -> dict[str, object]:
        content = _labels([self.samples.clips[i] for i in places])
        # MISA packs audio and vision with the text's length: their padding must reach as far.
        text, count = self.lengths["tokens"], len(places)
        content["text_bert"] = Rows(
            (count, 3, text), np.dtype(np.int64), lambda: (_bert(self._sequence("tokens", i), text) for i in places)
        )
        for kind in ("text", "audio", "vision"):
            if kind in self.origins:
                content[kind] = self._padded(kind, places)
            elif kind != "text":
                content[kind] = np.zeros((count, text, 1), np.float32)
            if kind != "text":
                frames = self._frames(kind, places) if kind in self.origins else [1] * count
                content[f"{kind}_lengths"] = [max(1, n) for n in frames]
        if self.settings.incomplete:
            content |= self._missing(places, content)
        if self.settings.aligned:
            content = {key: value for key, value in content.items() if not key.endswith("_lengths")}
        return content

    def _padded(self, kind: str, places: list[int]) -> Rows:
        store, padded = self.samples.stores[kind], max(self.lengths["tokens"], self.lengths[kind])
        return Rows(
            (len(places), padded, len(store.columns)),
            store.dtype,
            lambda: (_padded(self._sequence(kind, i).values, padded) for i in places),
        )

    def _missing(self, places: list[int], content: Mapping[str, Any]) -> dict[str, object]:
        """Masks (N, T), 1 where a frame is present, and the share of real frames that is not, (N, 1)."""
        result: dict[str, object] = {}
        for letter, kind, source in (("l", "text", "tokens"), ("a", "audio", "audio"), ("v", "vision", "vision")):
            padded = content["text_bert"].shape[2] if kind == "text" else content[kind].shape[1]
            result[f"{kind}_missing_mask"] = Rows(
                (len(places), padded),
                np.dtype(np.int64),
                partial(self._masks, source, places, padded),
            )
            seen = (self._seen(source, i) for i in places)
            lost = [1 - one.mean() if len(one) else 1 for one in seen]
            result[f"missing_rate_{letter}"] = np.array(lost, np.float32)[:, None]
        return result

    def _masks(self, kind: str, places: list[int], padded: int) -> Iterator[np.ndarray]:
        return (_padded(self._seen(kind, i).astype(np.int64), padded) for i in places)

    def _marks(self, kind: str, places: list[int], name: str) -> Iterator[np.ndarray]:
        return (getattr(self._sequence(kind, i, marked=True), name) for i in places)

    def _seen(self, kind: str, place: int) -> np.ndarray:
        return self._sequence(kind, place, marked=True).seen if kind in self.origins else np.zeros(0, bool)

    def _kept(self, places: list[int]) -> dict[str, object]:
        """Places among the samples, labels in full; per kind true lengths (N,), times and seen of all frames."""
        result: dict[str, object] = {"places": np.array(places, np.int64)}
        result["labels"] = [json.dumps(self.samples.clips[i].labels, sort_keys=True) for i in places]
        for kind in self.origins:
            frames = self._frames(kind, places)
            result[f"{kind}_lengths"] = np.array(frames, np.int64)
            for name, dtype in (("times", np.float64), ("seen", bool)):
                result[f"{kind}_{name}"] = Rows(
                    (sum(frames),),
                    np.dtype(dtype),
                    partial(self._marks, kind, places, name),
                )
        return result


def _labels(clips: Sequence[Clip]) -> dict[str, object]:
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
    return content


def _padded(values: np.ndarray, length: int) -> np.ndarray:
    return np.concatenate([values, np.zeros((length - len(values), *values.shape[1:]), values.dtype)])


def _bert(tokens: FeatureSequence, length: int) -> np.ndarray:
    """(3, length) ids, mask, segments. No words are [CLS] [SEP], because an all-zero mask breaks MISA."""
    values = np.where(tokens.values == LOST_TOKEN, UNK, tokens.values)
    if not len(values):
        values = np.array([[CLS, 1, 0], [SEP, 1, 0]], np.int64)[:length]
    return _padded(values, length).T


def _notes(clips: Sequence[Clip], places: dict[str, list[int]], origins: Mapping[str, Origin]) -> tuple[str, ...]:
    """What MMSA would stumble over, and what is not in the file."""
    notes = []
    left = len(clips) - sum(map(len, places.values()))
    if left:
        notes.append(f"not in it: {counted(left, 'clip')} without a split or a label")
    notes += [f"{kind}: the clips have none; zeros of width 1" for kind in ("audio", "vision") if kind not in origins]
    count = len(places["train"])
    sizes = [size for size in _BATCH_SIZES if count % size == 1]
    if sizes:
        trained = counted(count, "training clip")
        notes.append(f"{trained}: the last batch is of one at batch size {sizes}: MISA cannot train on it")
    for split, members in places.items():
        if not any(clips[i].labels["M"] for i in members):
            notes.append(f"{split}: no label differs from 0: MMSA's metrics of MOSI fail")
    return tuple(notes)


def _lacks(samples: Samples, places: dict[str, list[int]]) -> Iterator[str]:
    """Unimodal labels that are left out because some clips have none, and words where there are none at all."""
    for name in "TAV":
        counts = {split: sum(name in samples.clips[i].labels for i in part) for split, part in places.items()}
        told = [
            f"{counts[split]} of {len(part)} {split}" for split, part in places.items() if counts[split] < len(part)
        ]
        if told and any(counts.values()):
            yield f"regression_labels_{name}: left out where not every clip has one ({', '.join(told)} have)"
    if not samples.stores["tokens"].lengths.any():
        yield "text: no clip has words; each is [CLS] [SEP]"


@dataclass(frozen=True)
class Pickle:
    """A pickle that has been read and checked; `own` is what Lacuna wrote beside MMSA's keys, None in others' files.

    splits: {split: {MMSA's key: arrays or lists of N}}; official: which published file it is, "" for none of them.
    """

    path: Path
    sha256: str
    official: str
    splits: dict[str, dict[str, Any]]
    own: dict[str, Any] | None

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
            check_split(content[split], widths)
        except MalformedInput as error:
            raise MalformedInput(f"{path}: {split}: {error}") from error
    digest = _sha256(path)
    splits = {split: content[split] for split in SPLITS}
    given = Pickle(Path(path), digest, OFFICIAL.get(digest, ""), splits, content.get("lacuna"))
    if given.own is not None:
        with reading(given.path, "a pickle as Lacuna exported it", "export it anew"):
            check_own(given.own, splits, given.kinds)
    return given


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
