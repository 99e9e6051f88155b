"""CTC forced alignment. In: sound at 16 kHz and its words. Out: each word's span.

The best path through a wav2vec2 model's character probabilities that spells the words, with blanks where it likes
(Graves et al. 2006; Kürzinger et al. 2020, without their free ends).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from lacuna.media import RATE
from lacuna.storage import pretrained
from lacuna.types import MalformedInput


class CtcAligner:
    """A wav2vec2 CTC model by hub id or directory."""

    def __init__(self, source: str) -> None:
        transformers = pretrained.import_transformers()
        self._model = pretrained.load(transformers.AutoModelForCTC, source).eval()
        self._vocabulary = pretrained.load(transformers.AutoTokenizer, source).get_vocab()
        self._blank = self._model.config.pad_token_id or 0
        self._gap = self._vocabulary.get("|")

    def __call__(self, sound: np.ndarray, words: Sequence[str]) -> np.ndarray:
        """(W, 2) s; NaN for words without a character that the model knows. MalformedInput: too little sound."""
        targets, owner = self._spelled(words)
        spans = np.full((len(words), 2), np.nan)
        if not len(targets):
            return spans
        sound = (sound - sound.mean()) / (sound.std() + 1e-7)  # as these models were trained
        with torch.inference_mode():
            logits = self._model(torch.from_numpy(sound.astype(np.float32))[None]).logits[0]
        frames = best_path(logits.log_softmax(-1).numpy(), targets, self._blank)
        step = len(sound) / RATE / len(logits)
        for word in np.unique(owner[owner >= 0]):
            own = frames[owner == word]
            spans[word] = own[0, 0] * step, own[-1, 1] * step
        return spans

    def _spelled(self, words: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Character ids with gaps between words, and the word of each (-1 for gaps)."""
        targets: list[int] = []
        owner: list[int] = []
        for i, word in enumerate(words):
            ids = [known for character in word if (known := self._id_of(character)) is not None]
            if ids and targets and self._gap is not None:
                targets.append(self._gap)
                owner.append(-1)
            targets += ids
            owner += [i] * len(ids)
        return np.array(targets, np.int64), np.array(owner, np.int64)

    def _id_of(self, character: str) -> int | None:
        """Models know one case only."""
        choices = (character, character.upper(), character.lower())
        return next((self._vocabulary[c] for c in choices if c in self._vocabulary), None)


def best_path(scores: np.ndarray, targets: np.ndarray, blank: int) -> np.ndarray:
    """(L, 2) first frame and the one after the last of each target on the likeliest path; scores (T, V) are log."""
    states = np.full(2 * len(targets) + 1, blank)
    states[1::2] = targets
    repeats = int((targets[1:] == targets[:-1]).sum())
    if len(scores) < len(targets) + repeats:
        raise MalformedInput(f"expected sound for {len(targets)} characters, got {len(scores)} frames of the model")
    # A path may skip the blank between two different characters.
    skips = np.zeros(len(states), bool)
    skips[3::2] = targets[1:] != targets[:-1]
    best = np.full(len(states), -np.inf)
    best[:2] = scores[0, states[:2]]
    steps = np.zeros((len(scores), len(states)), np.int8)  # how many states back the path came from
    for t in range(1, len(scores)):
        stay, one = best, np.concatenate([[-np.inf], best[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf, -np.inf], best[:-2]]), -np.inf)
        choices = np.stack([stay, one, two])
        steps[t] = choices.argmax(0)
        best = choices.max(0) + scores[t, states]
    path = np.empty(len(scores), np.int64)
    path[-1] = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    for t in range(len(scores) - 1, 0, -1):
        path[t - 1] = path[t] - steps[t, path[t]]
    wanted = 2 * np.arange(len(targets)) + 1
    return np.stack([np.searchsorted(path, wanted), np.searchsorted(path, wanted, side="right")], 1)
