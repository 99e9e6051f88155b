"""alignment: tokens find their words, words their times, and features are averaged over them."""

import json
from itertools import product

import numpy as np
import pytest
import torch
from media_files import Video, write_video

from lacuna.align import ctc
from lacuna.align import words as alignment
from lacuna.align.run import aligned
from lacuna.align.word_files import file_times, filled, read_words
from lacuna.align.words import Aligner, Settings, average, proportional, token_words, voiced, words_of
from lacuna.storage import pretrained
from lacuna.storage.features import FeatureFile, Origin, write_features
from lacuna.types import Clip, FeatureSequence, MalformedInput, empty_sequence

RATE = alignment.RATE


def ramp(times, seen=None):
    """A sequence whose value is its time."""
    times = np.asarray(times, np.float64)
    seen = np.ones(len(times), bool) if seen is None else np.asarray(seen)
    return FeatureSequence((times * seen).astype(np.float32)[:, None], times, seen, ("t",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("so, it's good", ["so,", "it's", "good"]),
        (" two\n lines ", ["two", "lines"]),
        ("我很happy啊。", ["我", "很", "happy", "啊", "。"]),
        ("", []),
    ],
)
def test_words(text, words):
    assert [text[begin:end] for begin, end in words_of(text)] == words


def test_each_token_finds_its_word():
    tokenizer = pretrained.tokenizer(pretrained.EMBEDDED)
    text = "An unbelievably good, good film!"
    owner = token_words(tokenizer, text, words_of(text), 50)
    tokens = tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])
    spelled = ["".join(t.removeprefix("##") for t, o in zip(tokens, owner) if o == w) for w in range(5)]
    assert spelled == ["an", "unbelievably", "good,", "good", "film!"]
    assert owner[0] == owner[-1] == -1 and (owner[1:-1] >= 0).all()
    assert len(token_words(tokenizer, "", [], 50)) == 0
    cut = token_words(tokenizer, text, words_of(text), 4)
    assert cut.tolist() == [-1, 0, 1, -1] or (len(cut) == 4 and cut[-1] == -1)


def test_means_over_spans_of_seen_frames():
    nan = np.nan
    spans = np.array([[nan, nan], [0.0, 0.3], [0.3, 0.5], [0.3, 0.5], [0.5, 0.8], [nan, nan]])
    seen = [True, False, True, True, True, False, False, False]
    result = average(ramp(np.arange(8) / 10, seen), spans)
    assert result.values[:, 0] == pytest.approx([0, 0.1, 0.35, 0.35, 0, 0])
    assert result.seen.tolist() == [False, True, True, True, False, False]
    assert result.times == pytest.approx([0, 0.15, 0.4, 0.4, 0.65, 0.8])


def test_a_word_shorter_than_a_frame_takes_the_nearest():
    spans = np.array([[0.11, 0.12], [0.18, 0.19], [0.25, 0.25], [7.0, 8.0]])
    result = average(ramp([0.0, 0.1, 0.2, 0.3]), spans)
    assert result.values[:, 0] == pytest.approx([0.1, 0.2, 0.2, 0.3], abs=0.101) and result.seen.all()
    assert np.isfinite(result.values).all()
    assert result.values[:2, 0] == pytest.approx([0.1, 0.2])


def test_nothing_to_average():
    spans = np.array([[np.nan, np.nan], [0, 1], [np.nan, np.nan]])
    assert not average(empty_sequence(("t",)), spans).seen.any()
    assert len(average(ramp([0.0]), np.zeros((0, 2)))) == 0


def burst(*spans, length=2.0):
    sound = np.zeros(int(length * RATE), np.float32)
    for start, end in spans:
        sound[int(start * RATE) : int(end * RATE)] = 0.3
    return sound


def test_voiced_part_closes_short_pauses_only():
    hops = voiced(burst((0.5, 0.8), (0.9, 1.0), (1.5, 1.7)))
    assert np.flatnonzero(np.diff(hops.astype(int))).tolist() == [49, 99, 149, 169]
    assert not voiced(np.zeros(RATE, np.float32)).any() and not len(voiced(np.zeros(3, np.float32)))


def test_proportional_times_skip_pauses():
    spans = proportional(["aaaa", "bb", "cc"], burst((0.4, 0.8), (1.2, 1.6)), 2.0)
    assert spans == pytest.approx(np.array([[0.4, 0.8], [1.2, 1.4], [1.4, 1.6]]))
    silent = proportional(["a", "bbb"], np.zeros(RATE, np.float32), 1.0)
    assert silent == pytest.approx(np.array([[0, 0.25], [0.25, 1.0]]))
    assert proportional(["a"], None, 3.0) == pytest.approx(np.array([[0, 3.0]]))


@pytest.mark.parametrize("words", [1, 7, 60])
def test_proportional_times_are_in_order_and_within(words):
    spans = proportional(["ab" * (i % 3 + 1) for i in range(words)], burst((0.31, 0.47), (1.02, 1.9)), 2.0)
    assert (spans[:, 1] >= spans[:, 0]).all() and (spans[1:, 0] >= spans[:-1, 1] - 1e-9).all()
    assert spans.min() >= 0.3 and spans.max() <= 1.91


LONG_GRID = '''File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 1.2
tiers? <exists>
size = 2
item []:
    item [1]:
        class = "IntervalTier"
        name = "phones"
        xmin = 0
        xmax = 1.2
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 1.2
            text = "AH0"
    item [2]:
        class = "IntervalTier"
        name = "words"
        xmin = 0
        xmax = 1.2
        intervals: size = 3
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = "good"
        intervals [2]:
            xmin = 0.5
            xmax = 0.7
            text = ""
        intervals [3]:
            xmin = 0.7
            xmax = 1.2
            text = "film""7"""
'''
SHORT_GRID = """File type = "ooTextFile"
"TextGrid"

0
1.2
<exists>
2
"TextTier"
"marks"
0
1.2
1
0.3
"x"
"IntervalTier"
"speech"
0
1.2
3
0
0.5
"good"
0.5
0.7
"sil"
0.7
1.2
"film"
"""
CTM = ";; comment\n1 A 0.0 0.5 good 0.9\n1 A 0.7 0.5 film\n2 A 0 9 other\n"
CSV = "word,start,end\nfilm,0.7,1.2\ngood,0,0.5\n"


@pytest.mark.parametrize(
    ("suffix", "content", "encoding"),
    [
        (".TextGrid", LONG_GRID, "utf-8"),
        (".TextGrid", LONG_GRID, "utf-16"),
        (".TextGrid", SHORT_GRID, "utf-8"),
        (".ctm", CTM, "utf-8"),
        (".csv", CSV, "utf-8-sig"),
    ],
)
def test_word_time_files(tmp_path, suffix, content, encoding):
    (tmp_path / "v").mkdir()
    (tmp_path / f"v/1{suffix}").write_bytes(content.encode(encoding))
    clip = Clip("v$_$1", "own", "train", "good film")
    assert file_times(tmp_path, clip, ["good", "film"]) == pytest.approx(np.array([[0, 0.5], [0.7, 1.2]]))


def test_words_that_differ_from_the_file(tmp_path):
    (tmp_path / "v$_$1.csv").write_text("word,start,end\nvery,0,0.2\nGood,1,2\nfilm,3,4\n")
    clip = Clip("v$_$1", "own", "train")
    spans = file_times(tmp_path, clip, ["a", "really", "good,", "dull", "film"])
    assert spans[2] == pytest.approx([1, 2]) and spans[3] == pytest.approx([2, 3]) and spans[4] == pytest.approx([3, 4])
    assert spans[:2] == pytest.approx(np.array([[0, 1 / 7], [1 / 7, 1]]))
    assert filled(np.full((2, 2), np.nan), ["a", "bbb"], 4.0) == pytest.approx(np.array([[0, 1], [1, 4]]))


def test_a_video_s_file_serves_its_spans(tmp_path):
    (tmp_path / "v.csv").write_text("word,start,end\nno,0,1\ngood,5,6\nfilm,6,7\nno,9,10\n")
    clip = Clip("v$_$1", "own", "train", start=4.5, end=8.0)
    assert file_times(tmp_path, clip, ["good", "film"]) == pytest.approx(np.array([[0.5, 1.5], [1.5, 2.5]]))
    with pytest.raises(MalformedInput, match="expected words within the clip"):
        file_times(tmp_path, Clip("v$_$2", "own", "train", start=20.0), ["x"])


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".TextGrid", "nothing"),
        (".TextGrid", LONG_GRID[:400]),
        (".ctm", "one two"),
        (".csv", "word,begin\na,1\n"),
        (".csv", "word,start,end\na,2,1\n"),
        (".csv", "word,start,end\na,x,1\n"),
    ],
)
def test_bad_word_time_files_are_named(tmp_path, suffix, content):
    path = tmp_path / f"c{suffix}"
    path.write_text(content)
    with pytest.raises(MalformedInput, match=r"c\.\w+: expected"):
        read_words(path)


def test_a_missing_file_says_where_it_was_looked_for(tmp_path):
    with pytest.raises(MalformedInput, match=r"v/1\(\.TextGrid\|\.ctm\|\.csv\), found none"):
        file_times(tmp_path, Clip("v$_$1", "own", "train"), ["x"])


def brute_force(scores, targets, blank):
    """The likeliest of all paths, one by one."""

    def collapsed(path):
        kept = [s for i, s in enumerate(path) if i == 0 or s != path[i - 1]]
        return [s for s in kept if s != blank]

    paths = [p for p in product(range(scores.shape[1]), repeat=len(scores)) if collapsed(p) == list(targets)]
    return max(sum(scores[t, s] for t, s in enumerate(p)) for p in paths)


@pytest.mark.parametrize("targets", [[1], [1, 2], [1, 1], [2, 1, 2], [1, 2, 2]])
def test_the_best_path_is_the_likeliest_of_all(targets):
    rng = np.random.default_rng(len(targets))
    for _ in range(5):
        scores = np.log(rng.dirichlet(np.ones(3), 6))
        spans = ctc.best_path(scores, np.array(targets), 0)
        labels = np.zeros(6, int)
        for target, (begin, end) in zip(targets, spans):
            assert end > begin
            labels[begin:end] = target
        score = sum(scores[t, s] for t, s in enumerate(labels))
        assert score == pytest.approx(brute_force(scores, targets, 0))
        assert (spans[1:, 0] >= spans[:-1, 1]).all()


def test_clear_scores_give_their_frames():
    labels = [0, 1, 1, 0, 2, 0, 2, 2]
    scores = np.log(np.full((8, 3), 0.01))
    scores[np.arange(8), labels] = np.log(0.98)
    assert ctc.best_path(scores, np.array([1, 2, 2]), 0).tolist() == [[1, 3], [4, 5], [6, 8]]
    with pytest.raises(MalformedInput, match="sound for 3 characters, got 3 frames"):
        ctc.best_path(scores[:3], np.array([1, 2, 2]), 0)


@pytest.fixture(scope="module")
def wav2vec2(tmp_path_factory):
    """A tiny CTC model of random weights, with the usual vocabulary of capitals."""
    transformers = pretrained.import_transformers()
    folder = tmp_path_factory.mktemp("wav2vec2")
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ'"]
    (folder / "vocab.json").write_text(json.dumps({symbol: i for i, symbol in enumerate(symbols)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    torch.manual_seed(0)
    small = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    convolutions = {"conv_dim": (8,) * 7, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    config = transformers.Wav2Vec2Config(vocab_size=len(symbols), pad_token_id=0, **small, **convolutions)
    transformers.Wav2Vec2ForCTC(config).save_pretrained(folder)
    return folder


def test_forced_alignment_with_a_model(wav2vec2, tmp_path):
    path = write_video(tmp_path / "clip.mp4", Video(frames=50))
    aligner = Aligner(Settings("ctc", str(wav2vec2)))
    clip = Clip("v$_$1", "own", "train", "A good 7 film!", path=path)
    spans = aligner.spans(clip)
    assert np.isnan(spans[[0, -1]]).all() and np.isfinite(spans[1:-1]).all()
    assert (spans[1:-1, 1] >= spans[1:-1, 0]).all() and (np.diff(spans[1:-1, 0]) >= 0).all() and spans[-2, 1] <= 2.1
    with pytest.raises(MalformedInput, match="sound for"):
        aligner.spans(Clip("v$_$1", "own", "train", "word " * 60, path=path))


def test_a_clip_is_aligned_end_to_end(tmp_path):
    path = write_video(tmp_path / "clip.mp4", Video(frames=50))
    clip = Clip("v$_$1", "own", "train", "good unbelievable film", path=path)
    aligner = Aligner(Settings())
    result = average(ramp(np.arange(50) / 25), aligner.spans(clip))
    tokens = pretrained.tokenizer(pretrained.EMBEDDED)(clip.text)["input_ids"]
    assert len(result) == len(tokens) and result.seen[1:-1].all() and not result.seen[[0, -1]].any()
    assert result.values[1, 0] == pytest.approx(0.2, abs=0.06) and (np.diff(result.values[1:-1, 0]) >= 0).all()
    span = Clip("v$_$1", "own", "train", "good", path=path, start=1.0, end=1.5)
    assert aligner.spans(span)[1] == pytest.approx([0, 0.5], abs=0.02)
    assert aligner.spans(Clip("v$_$1", "own", "train", "", path=path)).shape == (0, 2)
    mute = Clip("v$_$1", "own", "train", "good", path=write_video(tmp_path / "mute.mp4", Video(audio="")))
    assert aligner.spans(mute)[1] == pytest.approx([0, 1.0], abs=0.02)
    with pytest.raises(MalformedInput, match="expected a video to place its words in"):
        aligner.spans(Clip("v$_$1", "own", "train", "good"))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"words": "guess"}, "words.words: expected one of proportional, files, ctc, sphinx, heard; got 'guess'"),
        ({"words": "files"}, "expected a folder of word-time files"),
        ({"words": "ctc"}, "expected a wav2vec2 CTC model"),
    ],
)
def test_impossible_settings(values, told):
    with pytest.raises(MalformedInput, match=told):
        Settings(**values)


def test_text_is_cleaned_as_the_tokens_were(tmp_path):
    path = write_video(tmp_path / "clip.mp4", Video(frames=50))
    clip = Clip("v$_$1", "own", "train", "RT @me: good film http://x.y/z", path=path)
    spans = Aligner(Settings(clean=("retweets", "links"))).spans(clip)
    assert len(spans) == len(pretrained.tokenizer(pretrained.EMBEDDED)("good film")["input_ids"])
    with pytest.raises(MalformedInput, match="clean: expected any of"):
        Settings(clean=("dirt",))


def test_a_bad_clip_does_not_stop_the_others(tmp_path):
    words = tmp_path / "words"
    (words / "v").mkdir(parents=True)
    (words / "v" / "1.csv").write_text("word,start,end\ngood,0.0,1.0\n")
    clips = [Clip(f"v$_${i}", "own", "train", "good") for i in (1, 2)]
    origin = Origin("x", "audio", ("t",), {}, {})
    write_features(tmp_path / "x.h5", origin, [(c.id, ramp([0.0, 0.5])) for c in clips])
    aligner, rejects = Aligner(Settings(words="files", source=str(words))), []
    with FeatureFile(tmp_path / "x.h5") as file:
        result = dict(aligned(aligner, clips, file, rejects))
    assert result["v$_$1"].seen.tolist() == [False, True, False] and not len(result["v$_$2"])
    assert [r.id for r in rejects] == ["v$_$2"] and "expected word times" in rejects[0].reason
    assert rejects[0].stage == "align"


def _grid(tiers, extra="") -> str:
    """A TextGrid in Praat's short form, with comments after each number; tiers of (start, end, label)."""
    lines = ['"ooTextFile"', '"TextGrid"', "0 2 ! time domain of 3 things", "<exists> ! 7", f"{len(tiers)} tiers ! 2"]
    for name, rows in tiers:
        lines += [f'"IntervalTier" "{name}" ! tier 1', "0 2 ! of 2 s", f"{len(rows)} intervals"]
        lines += [f'{start} {end} "{label}" ! interval 1 of 9' for start, end, label in rows]
    return "\n".join([*lines, extra])


HELLO = Clip("v$_$1", "own", "train", "hello big world", {}, None, 0.0, 2.0)
EXPECTED = np.array([[0.3, 0.8], [0.8, 1.2], [1.2, 1.9]])


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".csv", "word,start,end\nuh,0.0,0.2\nhello,0.3,0.8\nworld,1.2,1.9\n"),
        (".csv", "word,start,end\nhello,0.3,0.8\nbig,,\nworld,1.2,1.9\n"),
        (".csv", "word,start,end\nhello,0.3,0.8\nbig,NaN,NA\nworld,1.2,1.9\n"),
        (".csv", "word;start;end\nhello;0,3;0,8\nbig;;\nworld;1,2;1,9\n"),
        (".csv", "word,start,end\nHELLO,0.3,0.8\nbug,0.8,1.2\nworld.,1.2,1.9\n"),
        (".TextGrid", _grid([("words", [(0.3, 0.8, "hello"), (0.8, 1.2, "big"), (1.2, 1.9, "world")])])),
        (".TextGrid", _grid([("Anna - words", [(0.3, 0.8, "hello")]), ("Ben - words", [(1.2, 1.9, "world")])])),
        (".TextGrid", _grid([("words_A", [(0.3, 0.8, "hello")]), ("phones", []), ("word B", [(1.2, 1.9, "world")])])),
        (".TextGrid", _grid([("words", [(0.3, 0.8, "hello")]), ("words", [(0.8, 1.2, "big"), (1.2, 1.9, "world")])])),
        (".ctm", "1 A 0.3 0.5 hello\n1 A 1.2 0.7 world\n"),
    ],
)
def test_words_keep_the_times_that_are_theirs(tmp_path, suffix, content):
    (tmp_path / "v").mkdir()
    (tmp_path / f"v/1{suffix}").write_text(content)
    assert file_times(tmp_path, HELLO, ["hello", "big", "world"]) == pytest.approx(EXPECTED)


def test_words_of_chinese_files_are_matched_by_their_characters(tmp_path):
    (tmp_path / "v$_$1.csv").write_text("word,start,end\n嗯,0,0.2\n喜欢,0.4,0.8\n电影,1.0,1.6\n", encoding="utf-8")
    spans = file_times(tmp_path, HELLO, list("喜欢电影"))
    assert spans == pytest.approx(np.array([[0.4, 0.6], [0.6, 0.8], [1.0, 1.3], [1.3, 1.6]]))


@pytest.mark.parametrize(
    ("suffix", "content", "told"),
    [
        (".csv", "word,start,end\nquite,0,1\nother,1,2\nspeech,2,3\n", "expected times of the words hello big world"),
        (".TextGrid", _grid([("Anna", [(0, 1, "hello")]), ("Ben", [(1, 2, "world")])]), "a tier called words"),
        (".csv", "word,start,end\nhello,soon,0.8\n", "expected seconds in line 2"),
        (".csv", "word,start,end\nhello,0.8,0.3\n", "end >= start"),
        (".csv", "word,start,end\nhello,,\nbig,,\n", "expected words within the clip"),
    ],
)
def test_word_times_that_cannot_be_theirs_are_refused(tmp_path, suffix, content, told):
    (tmp_path / "v").mkdir()
    (tmp_path / f"v/1{suffix}").write_text(content)
    with pytest.raises(MalformedInput, match=told):
        file_times(tmp_path, HELLO, ["hello", "big", "world"])
