"""The laws of simulated loss, for every pattern; and the published loaders' masks, bit for bit."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lacuna.data.samples import HIDDEN_COLUMN, LOST_TOKEN, TAILED_COLUMN, TOKEN_COLUMNS, Sample, Samples, specials
from lacuna.datasets import mmsa_pickle
from lacuna.mask.mask import Draw, Place, lose, mask, rate_of
from lacuna.mask.variants import Counted, Grid, Variants, write_variants
from lacuna.params import plugin, plugin_names
from lacuna.params.sections import Prepare
from lacuna.patterns import conflict, frames, legacy, mixed, modality, modality_dataset, noise, span
from lacuna.storage import pickles
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

ROOT = Path(__file__).resolve().parents[1]
MASKS = Path(os.environ.get("LACUNA_FIXTURES", ROOT / "../shared/fixtures")) / "lnln/masks.npz"
PATTERNS = [plugin("patterns", name) for name in plugin_names("patterns")]
OWN = [pattern for pattern in PATTERNS if pattern is not legacy]  # not bound to what the published loaders do
CLIP = Clip("v$_$0", "demo", "train", "words")
PLACE = Place(3, 10, {"text": 40, "audio": 40, "vision": 40})

lengths = st.integers(1, 40)
rates = st.floats(0, 1)


def sequence(length: int, columns: tuple[str, ...] = ("x", "y")) -> FeatureSequence:
    rng = np.random.default_rng(length)
    if columns == TOKEN_COLUMNS:
        values = np.stack([rng.integers(200, 900, length), np.ones(length), np.zeros(length)], 1).astype(np.int64)
    else:
        values = rng.normal(size=(length, len(columns))).astype(np.float32) + 10  # never 0 by chance
    return FeatureSequence(values, np.arange(length) / 25, np.ones(length, bool), columns)


def sample(length: int) -> Sample:
    features = {"text": sequence(length, TOKEN_COLUMNS), "audio": sequence(length), "vision": sequence(length)}
    return Sample(CLIP, features)


def seen(masked: Sample) -> dict[str, object]:
    """What a model is told of each modality: which frames there are, and what is in them."""
    return {m: (s.seen.tolist(), s.values.tolist()) for m, s in masked.features.items()}


@pytest.mark.parametrize("pattern", PATTERNS)
@given(length=lengths, level=rates, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_mask_is_a_pure_function_of_its_draw(pattern, length, level, seed):
    first = seen(mask(sample(length), pattern, level, seed, place=PLACE))
    np.random.seed(0)
    np.random.uniform(size=7)
    alone = sample(length)
    alone = replace(alone, features={"vision": alone.features["vision"]})
    assert seen(mask(alone, pattern, level, seed, place=PLACE))["vision"] == first["vision"]
    assert seen(mask(sample(length), pattern, level, seed, place=PLACE)) == first


def test_masking_leaves_the_global_generator_alone():
    before = np.random.get_state()[1].copy()
    for pattern in PATTERNS:
        mask(sample(20), pattern, 0.5, 1, place=PLACE)
    assert (np.random.get_state()[1] == before).all()


@pytest.mark.parametrize("pattern", PATTERNS)
@given(length=lengths, level=rates)
@settings(max_examples=25, deadline=None)
def test_cls_and_sep_survive(pattern, length, level):
    text = mask(sample(length), pattern, level, 0, place=PLACE).features["text"]
    assert text.seen[0] and text.seen[-1]
    assert text.values[0, 0] != LOST_TOKEN and text.values[-1, 0] != LOST_TOKEN


@pytest.mark.parametrize("pattern", OWN)
def test_hidden_states_keep_their_ends_and_other_embeddings_do_not(pattern):
    hidden, words = sequence(9, (HIDDEN_COLUMN, "hidden_1")), sequence(9, ("glove_0", "glove_1"))
    draws = [Draw("d", str(i), "text", pattern.__name__, 1.0, 0) for i in range(40)]
    assert all(pattern.survivors(hidden, d)[[0, -1]].all() for d in draws)
    assert not all(pattern.survivors(words, d)[[0, -1]].all() for d in draws)


@pytest.mark.parametrize("pattern", OWN)
def test_xlnets_two_last_tokens_survive_and_its_first_is_a_word(pattern):
    ids = np.stack([np.arange(9), np.ones(9), [0] * 8 + [2]], 1).astype(np.int64)  # … <sep> <cls>, of segment 2
    tokens = FeatureSequence(ids, np.arange(9.0), np.ones(9, bool), TOKEN_COLUMNS)
    hidden = sequence(9, (TAILED_COLUMN, "tailed_hidden_1"))
    draws = [Draw("d", str(i), "text", pattern.__name__, 1.0, 0) for i in range(40)]
    for text in (tokens, hidden):
        assert specials(text).tolist() == [False] * 7 + [True] * 2
        kept = np.stack([pattern.survivors(text, d) for d in draws])
        assert kept[:, -2:].all() and not kept[:, 0].all()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_clip_without_the_modality_stays_without(pattern):
    nothing = Sample(CLIP, {"audio": empty_sequence(("x",)), "text": empty_sequence(TOKEN_COLUMNS, np.int64)})
    masked = mask(nothing, pattern, 0.5, 0, place=PLACE)
    assert all(len(s) == 0 for s in masked.features.values())


@pytest.mark.parametrize("pattern", (frames, legacy, span, noise))
@pytest.mark.parametrize("level", (0.0, 0.1, 0.5, 0.9, 1.0))
def test_the_rate_is_what_was_asked_for(pattern, level):
    place = Place(0, 1, {"audio": 20_000})
    survives = pattern.survivors(sequence(20_000), Draw("d", "c", "audio", "p", level, 0, 0, place))
    assert abs(1 - survives.mean() - level) < 4 * np.sqrt(max(level * (1 - level), 1e-9) / 20_000) + 1e-9


def test_modality_loses_all_or_nothing_at_the_rate():
    draws = [Draw("d", str(i), "audio", "modality", 0.3, 0) for i in range(2000)]
    kept = [modality.survivors(sequence(5), d) for d in draws]
    assert all(k.all() or not k.any() for k in kept)
    assert abs(np.mean([not k.any() for k in kept]) - 0.3) < 0.04


def test_modality_by_name_keeps_those_named():
    masked = mask(sample(6), modality, "text+audio", 0)
    assert masked.features["audio"].seen.all() and masked.features["text"].seen.all()
    assert not masked.features["vision"].seen.any()


def test_mixed_leaves_half_whole_and_draws_the_rate_for_the_rest():
    lost = [1 - mixed.survivors(sequence(400), Draw("d", str(i), "audio", "mixed", 0, 0)).mean() for i in range(1000)]
    whole = np.mean([x == 0 for x in lost])
    assert 0.45 < whole < 0.56
    rest = np.array([x for x in lost if x > 0])
    assert abs(rest.mean() - 0.5) < 0.05 and abs(rest.std() - np.sqrt(1 / 12)) < 0.03


@pytest.mark.parametrize("pattern", (frames, mixed, span, noise))
def test_each_draw_modality_and_clip_loses_other_frames(pattern):
    def of(clip: str = "c", name: str = "audio", draw: int = 0) -> tuple[bool, ...]:
        drawn = (pattern.survivors(sequence(60), Draw("d", clip, name, "p", 0.5, 0, d)) for d in range(draw, draw + 4))
        return tuple(np.concatenate(list(drawn)))

    assert len({of(), of("other"), of(name="vision"), of(draw=100)}) == 4


@pytest.mark.parametrize("pattern", [p for p in PATTERNS if p is not mixed])  # which draws its own rate
@given(length=lengths, low=rates, high=rates, seed=st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_what_a_rate_loses_every_higher_rate_loses_too(pattern, length, low, high, seed):
    low, high = sorted((low, high))
    kept = [
        pattern.survivors(sequence(length), Draw("d", "c", "audio", "p", level, seed, 0, PLACE))
        for level in (low, high)
    ]
    assert (kept[0] | ~kept[1]).all()


def runs(lost: np.ndarray) -> int:
    return int((np.diff(np.concatenate([[0], lost.astype(int)])) == 1).sum())


@given(length=st.integers(1, 400), level=rates, seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_span_loses_the_share_in_few_runs(length, level, seed):
    lost = ~span.survivors(sequence(length), Draw("d", "c", "audio", "span", level, seed))
    assert abs(lost.sum() - level * length) < 1 and runs(lost) <= span.MOST
    words = ~span.survivors(sequence(length, TOKEN_COLUMNS), Draw("d", "c", "text", "span", level, seed))
    assert abs(words.sum() - level * max(0, length - 2)) < 1 and runs(words) <= span.MOST


def test_span_rounds_to_the_right_mean():
    lost = [~span.survivors(sequence(5), Draw("d", str(i), "audio", "span", 0.5, 0)) for i in range(1000)]
    assert abs(np.mean(lost) - 0.5) < 0.02


def test_noise_is_as_strong_as_the_clip_and_tells_no_one():
    before = Sample(CLIP, {"audio": replace(sequence(4000), values=sequence(4000).values * np.float32([1, 5]))})
    after = mask(before, noise, 0.4, 0).features["audio"]
    spoilt = (after.values != before.features["audio"].values).any(1)
    assert after.seen.all() and abs(spoilt.mean() - 0.4) < 0.03
    added = (after.values - before.features["audio"].values)[spoilt]
    assert np.allclose(added.mean(0), 0, atol=0.4) and np.allclose(added.std(0), [1, 5], rtol=0.1)
    scaled = replace(before.features["audio"], values=before.features["audio"].values / 4 - 1)
    again = mask(Sample(CLIP, {"audio": scaled}), noise, 0.4, 0).features["audio"]
    assert np.allclose(again.values, after.values / 4 - 1, atol=1e-3)


def test_noise_leaves_what_was_unseen_empty():
    holes = replace(sequence(30), seen=np.arange(30) % 2 == 0)
    holes = replace(holes, values=holes.values * holes.seen[:, None])
    after = mask(Sample(CLIP, {"audio": holes}), noise, 1.0, 0).features["audio"]
    assert (after.seen == holes.seen).all() and not after.values[~holes.seen].any()
    blind = replace(holes, seen=np.zeros(30, bool), values=holes.values * 0)
    assert not mask(Sample(CLIP, {"audio": blind}), noise, 1.0, 0).features["audio"].values.any()


def test_noise_of_a_single_frame_is_as_wide_as_its_columns_spread():
    """A view of multi-view data, a picture's vector: RCML disturbs them too."""
    row = np.random.default_rng(0).normal(5, 3, (1, 4000)).astype(np.float32)
    one = FeatureSequence(row, np.zeros(1), np.ones(1, bool), tuple(map(str, range(4000))))
    added = mask(Sample(CLIP, {"view0": one}), noise, 1.0, 0).features["view0"].values - row
    assert abs(added.mean()) < 0.3 and abs(added.std() - 3) < 0.2
    assert (mask(Sample(CLIP, {"view0": one}), noise, 0.0, 0).features["view0"].values == row).all()


def test_noise_mishears_words_of_the_clip():
    before = sequence(30, TOKEN_COLUMNS)
    after = mask(Sample(CLIP, {"text": before}), noise, 1.0, 0).features["text"]
    assert after.seen.all() and (after.values[:, 1:] == before.values[:, 1:]).all()
    assert (after.values[1:-1, 0] != before.values[1:-1, 0]).mean() > 0.8
    assert set(after.values[1:-1, 0]) <= set(before.values[1:-1, 0])


@given(length=lengths, data=st.data())
@settings(max_examples=30, deadline=None)
def test_what_is_lost_is_empty_and_the_rest_untouched(length, data):
    survives = np.array(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)))
    before, after = sequence(length), lose(sequence(length), survives)
    assert (after.values[~survives] == 0).all() and (after.values[survives] == before.values[survives]).all()
    tokens, lost = sequence(length, TOKEN_COLUMNS), lose(sequence(length, TOKEN_COLUMNS), survives)
    assert (lost.values[~survives, 0] == LOST_TOKEN).all()
    assert (lost.values[:, 1:] == tokens.values[:, 1:]).all()  # the place of a lost word stays known
    assert (lost.seen == survives).all()


def test_a_rate_beyond_one_is_refused():
    with pytest.raises(MalformedInput, match="missing rate: expected 0 to 1"):
        mask(sample(3), frames, 1.5, 0)


def test_legacy_without_a_place_says_what_it_needs():
    with pytest.raises(MalformedInput, match="place in its split"):
        mask(sample(3), legacy, 0.5, 0)


def test_legacy_modalities_share_their_stream():
    """The erratum it keeps: equal padding, equal frames lost."""
    masked = mask(sample(40), legacy, 0.5, 1111, place=PLACE)
    assert (masked.features["audio"].seen == masked.features["vision"].seen).all()


@pytest.mark.skipif(not MASKS.is_file(), reason=f"NO PARITY CHECKED: no {MASKS} (set LACUNA_FIXTURES)")
@pytest.mark.parametrize("name", ("text", "audio", "vision"))
def test_legacy_is_the_published_mask_bit_for_bit(name):
    fixture = np.load(MASKS, allow_pickle=False)
    published = fixture[f"{name}_missing_mask"]
    count, padded = published.shape
    given_, masked = fixture[f"{name}_modality"], fixture[f"{name}_modality_m"]
    for i, length in enumerate(fixture[f"{name}_lens"]):
        place = Place(i, count, {name: padded})
        draw = Draw("d", str(i), name, "legacy", float(fixture[f"{name}_rate"][i, 0]), int(fixture["seed"]), 0, place)
        if name == "text":
            values = np.stack([given_[i, :length], np.ones(length), np.zeros(length)], 1).astype(np.int64)
            before = FeatureSequence(values, np.arange(length) / 1.0, np.ones(length, bool), TOKEN_COLUMNS)
        else:
            columns = tuple(f"c{k}" for k in range(given_.shape[2]))
            before = FeatureSequence(given_[i, :length], np.arange(length) / 1.0, np.ones(length, bool), columns)
        survives = legacy.survivors(before, draw)
        assert (survives == published[i, :length].astype(bool)).all()
        after = lose(before, survives).values
        ours = np.where(after[:, 0] == LOST_TOKEN, 100, after[:, 0]) if name == "text" else after
        assert (ours == masked[i, :length]).all()


def clips_of(count: int, **features: FeatureSequence) -> list[Sample]:
    clips = [Clip(f"v$_${i}", "demo", "test", labels={"M": float(i % 3)}) for i in range(count)]
    moved = [{m: replace(s, values=s.values + i) for m, s in features.items()} for i in range(count)]
    return [Sample(clip, own) for clip, own in zip(clips, moved)]


@pytest.mark.parametrize("pattern", [frames, span, noise, modality])
def test_each_modality_may_have_a_rate_of_its_own(pattern):
    """Together with others a modality is as it is alone at its own rate; one that is not named is whole."""
    whole = sample(40)
    told = mask(whole, pattern, "text=0.2+vision=0.8", 3)
    assert seen(told)["audio"] == seen(whole)["audio"]
    for name, rate in (("text", 0.2), ("vision", 0.8)):
        assert seen(told)[name] == seen(mask(whole, pattern, rate, 3))[name]
    with pytest.raises(MalformedInput, match=r"expected 0 to 1, got 1\.5"):
        mask(whole, pattern, "audio=1.5", 3)


def test_a_level_by_modality_is_read_as_it_is_written():
    assert rate_of("text=0.2+audio=0.6", "audio") == 0.6 and rate_of("audio+text", "audio") == "audio+text"


def test_a_broken_device_is_broken_for_all_clips_of_a_draw():
    samples = clips_of(30, audio=sequence(5), vision=sequence(5))
    for name in ("audio", "vision"):
        lost = [[mask(s, modality_dataset, 0.5, seed).features[name].seen.any() for s in samples] for seed in range(60)]
        assert all(len(set(row)) == 1 for row in lost)
        assert 0.3 < np.mean([row[0] for row in lost]) < 0.7


def test_conflict_swaps_the_share_of_modalities_for_those_of_clips_that_contradict():
    clips = clips_of(300, view0=sequence(1), view1=sequence(1), view2=sequence(2))
    samples = list(Samples.of(clips).bound({}, classes=3))
    swapped = []
    for one in samples:
        told = mask(one, conflict, 0.4, 1)
        changed = [m for m in one.features if told.features[m].values.tolist() != one.features[m].values.tolist()]
        swapped += changed
        assert all(told.features[m].seen.all() for m in changed)
        for m in changed:
            donors = [o for o in samples if o.features[m].values.tolist() == told.features[m].values.tolist()]
            assert donors and all(o.clip.label != one.clip.label for o in donors)
    assert all(0.3 < swapped.count(f"view{v}") / 300 < 0.5 for v in range(3))
    assert all(not any(mask(s, conflict, 0.0, 1).features[m] is not s.features[m] for m in s.features) for s in samples)


def test_scores_contradict_by_their_sign_and_zero_contradicts_nobody():
    clips = [Clip(f"v$_${i}", "d", "test", labels={"M": y}) for i, y in enumerate((2.0, 0.5, -1.0, 0.0))]
    samples = Samples.of([Sample(clip, {"audio": sequence(2)}) for clip in clips]).bound({}, classes=0)
    assert [[o.clip.label for o in s.others] for s in samples] == [[-1.0], [-1.0], [2.0, 0.5], [2.0, 0.5, -1.0]]


@pytest.mark.skipif(not MASKS.is_file(), reason=f"NO PARITY CHECKED: no {MASKS} (set LACUNA_FIXTURES)")
def test_legacy_through_the_pipeline_is_the_published_mask_of_the_pickle(tmp_path):
    """The pickle is padded beyond its longest clip, and its three splits have other longest ones: its T decides."""
    fixture = np.load(MASKS, allow_pickle=False)
    contents, lengths = {}, {}
    for split, shorter in (("train", 1), ("valid", 3), ("test", 2)):
        content = {"id": [f"{split}$_${i}" for i in range(6)], "regression_labels": np.zeros(6)}
        for name in ("text", "audio", "vision"):
            given_ = fixture[f"{name}_modality"].copy()
            lengths[split, name] = [max(3, int(n) // shorter) for n in fixture[f"{name}_lens"]]
            for i, length in enumerate(lengths[split, name]):
                given_[i, length:] = 0
                given_[i, :length] = np.where(given_[i, :length] == 0, 1, given_[i, :length])
            if name == "text":
                ids = given_.astype(np.int64)
                content["text_bert"] = np.stack([ids, ids != 0, 0 * ids], 1)
            else:
                content[name], content[f"{name}_lengths"] = given_, lengths[split, name]
        contents[split] = content
    (tmp_path / "raw").mkdir()
    with (tmp_path / "raw/a.pkl").open("wb") as file:
        pickles.dumps_to(file, contents)
    clips = list(mmsa_pickle.read(tmp_path / "raw", "own", Prepare()))
    kinds = {"text": "tokens", "audio": "audio", "vision": "vision"}
    given_of = {m: mmsa_pickle.features(tmp_path / "raw", kind) for m, kind in kinds.items()}
    origins = {m: origin for m, (origin, _) in given_of.items()}
    sequences = {m: dict(pairs) for m, (_, pairs) in given_of.items()}
    rates, seed = sorted({float(r) for r in fixture["text_rate"][:, 0]}), int(fixture["seed"])
    grid, counts = Grid(legacy, rates, [seed]), {}
    for name, sequence_of in sequences.items():
        frames_of = np.array([len(sequence_of[clip.id]) for clip in clips])
        counts[name] = Counted(frames_of, [sequence_of[clip.id] for clip in clips], origins[name].settings)
    write_variants(tmp_path / "legacy.h5", clips, counts, grid)
    variants = Variants(tmp_path / "legacy.h5")
    for split in contents:
        for name in origins:
            for i, length in enumerate(lengths[split, name]):
                rate = float(fixture[f"{name}_rate"][i, 0])
                published = fixture[f"{name}_missing_mask"]
                drawn = np.random.RandomState(seed).uniform(size=published.shape)[i, :length] > rate
                if name == "text":
                    drawn[[0, -1]] = True
                survives = variants.survivors(f"{split}$_${i}", name, rate, seed)
                assert (survives == drawn).all()
                if length == fixture[f"{name}_lens"][i]:
                    assert (survives == published[i, :length].astype(bool)).all()
    with pytest.raises(MalformedInput, match="expected every row of the pickle, whose masks go by row, got 1 fewer"):
        fewer = {m: Counted(c.lengths[1:], c.sequences[1:], c.told) for m, c in counts.items()}
        write_variants(tmp_path / "legacy.h5", clips[1:], fewer, grid)
