"""Masks of a whole batch: SplitMix64's own numbers, the rate that was asked for, and no dependence on the company."""

import numpy as np
import pytest
from builders import clip, sequence, tokens

from lacuna.mask.together import GOLDEN, Draws, keys_of, mixed, specials_together
from lacuna.params import plugin, plugin_names
from lacuna.types import specials

PATTERNS = [name for name in plugin_names("patterns") if hasattr(plugin("patterns", name), "survivors_together")]
CLIPS = [clip(i) for i in range(400)]


def test_the_numbers_are_splitmix64s():
    # of seed 1234567, as Rosetta Code lists them
    wanted = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    states = np.uint64(1234567) + np.arange(1, 6, dtype=np.uint64) * GOLDEN
    assert mixed(states).tolist() == wanted


def survivors(name: str, chosen: list[int], level: float, seed: int = 1, draw: int = 0, frames: int = 60) -> np.ndarray:
    keys = keys_of([CLIPS[i] for i in chosen], "audio", name)
    special = np.zeros((len(chosen), frames), bool)
    return np.broadcast_to(
        plugin("patterns", name).survivors_together(Draws(keys, level, seed, draw), special), special.shape
    )


@pytest.mark.parametrize("name", PATTERNS)
def test_a_mask_depends_on_its_clip_seed_and_draw_alone(name):
    alone, shared = survivors(name, [7], 0.5)[0], survivors(name, [3, 7, 250], 0.5)[1]
    assert (alone == shared).all()
    longer = survivors(name, [7], 0.5, frames=90)[0]
    assert (longer[:60] == alone).all()
    everyone = list(range(400))
    for change in ({"seed": 2}, {"draw": 1}):
        assert (survivors(name, everyone, 0.5) != survivors(name, everyone, 0.5, **change)).any()


@pytest.mark.parametrize("name", ["frames", "modality"])
@pytest.mark.parametrize("level", [0.0, 0.3, 0.9, 1.0])
def test_the_rate_is_what_was_asked_for_and_grows(name, level):
    left = survivors(name, list(range(400)), level)
    draws = left.size if name == "frames" else len(left)
    assert abs(1 - left.mean() - level) <= 4 * np.sqrt(level * (1 - level) / draws)
    assert (survivors(name, list(range(400)), level / 2) >= left).all()


def test_mixed_spares_half_of_the_sequences():
    left = survivors("mixed", list(range(400)), 0.5)
    assert abs(left.all(1).mean() - 0.5) < 0.12 and abs(left.mean() - 0.75) < 0.06


@pytest.mark.parametrize(
    "made",
    [
        [tokens(101, 5, 6, 102), tokens(101, 102), tokens()],
        [sequence(np.ones((n, 2)), prefix="hidden_") for n in (4, 1, 0)],
        [sequence(np.ones((n, 2)), prefix="tailed_hidden_") for n in (4, 1, 0)],
        [sequence(np.ones((n, 2))) for n in (4, 1, 0)],
    ],
    ids=["tokens", "hidden", "tailed", "sound"],
)
def test_special_tokens_of_a_batch_are_those_of_each(made):
    values = np.zeros((len(made), 5, len(made[0].columns)), made[0].values.dtype)
    for row, one in zip(values, made):
        row[: len(one)] = one.values
    told = specials_together(made[0].columns, values, np.array([len(s) for s in made]))
    for row, one in zip(told, made):
        assert row[: len(one)].tolist() == specials(one).tolist() and not row[len(one) :].any()
