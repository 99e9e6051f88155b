"""Prediction for one clip: every kind of lack works and is told, and what cannot work says why."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from media_files import Video, write_video
from small_checkpoint import FEATURES, write_checkpoint

import lacuna
from lacuna.align.words import Settings
from lacuna.predict.answers import Question, parse_missing
from lacuna.predict.run import Predictor
from lacuna.predict.transcript import Cue, Transcript, read_transcript, token_spans
from lacuna.types import Clip, MalformedInput

SRT = """1
00:00:00,000 --> 00:00:01,000
<i>What a</i>

2
00:00:01,000 --> 00:00:02,500
wonderful day
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predicting")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return write_checkpoint(folder / "lnln")


@pytest.fixture(scope="module")
def predictor(folder, checkpoint):
    return Predictor(checkpoint, "cpu", folder / "cache")


@pytest.fixture(scope="module")
def clip(folder):
    return write_video(folder / "a clip 片段.mp4", Video(frames=62))


def test_a_clip_is_answered_for(predictor, clip):
    answer = predictor(clip, text="what a wonderful day")
    assert np.isfinite(answer.score) and answer.sentiment
    assert set(answer.contributions) == {"text", "audio"} and all(answer.contributions.values())
    assert [(m.start, m.end) for m in answer.curve][:2] == [(0, 1), (1, 2)] and len(answer.curve) == 3
    assert answer.curve[-1].end == pytest.approx(2.48, abs=0.1)
    assert len({moment.score for moment in answer.curve}) == 3
    assert answer.seen == {"text": 1.0, "audio": 1.0} and answer.notes == ()
    assert json.loads(json.dumps(answer.as_dict()))["text"] == "what a wonderful day"


def test_two_runs_agree(predictor, clip):
    assert predictor(clip, text="good", missing={"audio": 0.5}) == predictor(clip, text="good", missing={"audio": 0.5})


def test_without_text_it_is_missing_and_told(predictor, clip):
    answer = predictor(clip)
    assert answer.notes == ("text: none was given",) and answer.seen["text"] == 0
    assert set(answer.contributions) == {"audio"}
    assert predictor(clip, text="  ").score == answer.score


def test_dropping_is_what_the_contribution_says(predictor, clip):
    whole, without = predictor(clip, text="good"), predictor(clip, text="good", drop=["audio"])
    assert whole.score - without.score == pytest.approx(whole.contributions["audio"], abs=1e-5)
    assert without.notes == ("audio: left out, as asked",) and without.seen["audio"] == 0
    text_gone = predictor(clip, text="good", drop=["text"])
    assert text_gone.score == pytest.approx(predictor(clip).score, abs=1e-5)


def test_a_share_may_be_missing(predictor, clip):
    answer = predictor(clip, text="good", missing={"audio": 0.5})
    assert 0.2 < answer.seen["audio"] < 0.8 and answer.notes == ("audio: 50% of it lost, as asked",)
    assert predictor(clip, text="good", missing={"audio": 0.0}).score == predictor(clip, text="good").score


def test_a_video_without_sound_is_answered_for_by_its_text(predictor, folder):
    silent = write_video(folder / "silent.mp4", Video(audio=""))
    answer = predictor(silent, text="good")
    assert "audio: no sound found" in answer.notes
    with pytest.raises(MalformedInput, match=r"silent.mp4: expected something to predict from; .*text: none was given"):
        predictor(silent)


def test_what_is_no_media_is_refused(predictor, folder):
    (folder / "broken.mp4").write_bytes(b"no video")
    for name in ("broken.mp4", "absent.mp4"):
        with pytest.raises(MalformedInput, match=name):
            predictor(folder / name, text="good")


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Question(drop=["smell"]), r"expected modalities of the model \(text, audio\), got 'smell'"),
        (Question(missing={"text": 1.5}), r"missing text: expected a share from 0 to 1, got 1.5"),
    ],
)
def test_impossible_questions_are_refused(predictor, clip, question, message):
    with pytest.raises(MalformedInput, match=message):
        predictor(clip, question)


def test_a_classifier_gives_probabilities_and_uncertainty(folder, clip):
    predictor = Predictor(write_checkpoint(folder / "rcml", "rcml", task="polarity"), "cpu", folder / "cache")
    answer = predictor(clip, text="good")
    assert list(answer.probabilities) == ["negative", "neutral", "positive"]
    assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    assert answer.probabilities[answer.sentiment] == answer.score == max(answer.probabilities.values())
    assert 0 <= answer.uncertainty <= 1
    told = dict(answer.lines())
    assert "uncertainty" in told and f"({answer.score:.2f})" in told["sentiment"] and "+" not in told["by second"]


def test_a_video_without_a_face_says_so(folder, clip):
    features = FEATURES | {"face": {"backend": "mesh", "fps": 5}}
    predictor = Predictor(write_checkpoint(folder / "faces", features=features), "cpu", folder / "cache")
    assert "vision: no face found" in predictor(clip, text="good").notes


def test_features_that_are_not_the_models_are_named(folder, checkpoint, clip):
    predictor = Predictor(checkpoint, "cpu", folder / "cache")
    origin = predictor.card.origins["audio"]
    wider = {"audio": replace(origin, columns=(*origin.columns, "f0"))}
    predictor.card = replace(predictor.card, origins=predictor.card.origins | wider)
    with pytest.raises(MalformedInput, match=r"audio: expected 34 columns of librosa.*lacking: \['f0'\]"):
        predictor(clip, text="good")
    predictor, given = Predictor(checkpoint, "cpu"), {"audio": replace(origin, extractor="given")}
    predictor.card = replace(predictor.card, origins=predictor.card.origins | given)
    with pytest.raises(MalformedInput, match=r"audio: .*trained on given ones"):
        predictor(clip, text="good")


def test_a_checkpoint_of_aligned_features_is_answered_for(folder, clip):
    predictor = Predictor(write_checkpoint(folder / "aligned"), "cpu", folder / "cache")
    aligned = {"words": "proportional", "source": "", "tokenizer": "embedded", "max_length": 20}
    origin = predictor.card.origins["audio"]
    origin = replace(origin, settings=origin.settings | {"aligned": aligned})
    predictor.card = replace(predictor.card, origins=predictor.card.origins | {"audio": origin})
    answer = predictor(clip, text="what a day")
    assert answer.seen["audio"] == pytest.approx(3 / 5)  # [CLS] and [SEP] have no sound
    with pytest.raises(MalformedInput, match="averaged over words, and there are none"):
        predictor(clip)


def test_a_span_of_a_longer_file_is_answered_for(predictor, clip):
    answer = predictor(clip, text="good", start=1.0, end=2.0)
    assert [(m.start, m.end) for m in answer.curve] == [(0, 1)]


def test_subtitles_give_words_and_times(folder, predictor, clip):
    for name, text in (("a.srt", SRT), ("a.vtt", "WEBVTT\n\n" + SRT.replace(",", "."))):
        (folder / name).write_text(text, encoding="utf-8-sig")
        read = read_transcript(folder / name)
        assert read == Transcript("What a wonderful day", (Cue("What a", 0, 1), Cue("wonderful day", 1, 2.5)))
    assert read_transcript(folder / "a.srt", 1.0, 2.0).cues == (Cue("wonderful day", 0, 1),)
    answer = predictor(clip, transcript=folder / "a.srt")
    assert answer.text == "What a wonderful day" and answer.seen["text"] == 1


def test_tokens_lie_within_their_cues():
    transcript = Transcript("What a wonderful day", (Cue("What a", 0, 1), Cue("wonderful day", 3, 4.5)))
    spans = token_spans(Clip("c", "d", "test"), transcript, Settings())
    assert np.isnan(spans[[0, -1]]).all()
    assert spans[1:-1].min(0)[0] == 0 and spans[1:-1].max() == 4.5 and spans[3, 0] == 3


def test_tokens_of_cleaned_text_lie_within_the_cues_of_their_words():
    """Links, mentions and hashes are taken out of the text before it is tokenized: no token has their times."""
    transcript = Transcript(
        "@ann so good http://a.b/c the #end",
        (Cue("@ann so good", 0, 3), Cue("http://a.b/c", 3, 4), Cue("the #end", 4, 6)),
    )
    settings = Settings(clean=("mentions", "links", "hashes"))
    spans = token_spans(Clip("c", "d", "test"), transcript, settings)
    assert len(spans) == 2 + 4  # [CLS] so good the end [SEP]
    np.testing.assert_allclose(spans[1:-1], [[0, 1], [1, 3], [4, 5], [5, 6]], atol=0.5)
    assert spans[2, 1] <= 3 and spans[3, 0] >= 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.doc", b"", r"expected a transcript \(.srt, .vtt, .txt\), got '.doc'"),
        ("none.srt", None, "found none"),
        ("words.srt", b"just words", "expected lines like"),
    ],
)
def test_what_is_no_transcript_is_refused(folder, name, content, message):
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(MalformedInput, match=message):
        read_transcript(folder / name)


def test_plain_transcripts_may_be_chinese(folder):
    (folder / "gb.txt").write_bytes("今天 天气\n真好".encode("gb18030"))
    assert read_transcript(folder / "gb.txt").text == "今天 天气 真好"


def test_shares_are_parsed():
    assert parse_missing(["text=0.3", "audio=1"]) == {"text": 0.3, "audio": 1.0}
    with pytest.raises(MalformedInput, match=r"expected <modality>=<share>, such as text=0.3, got 'text'"):
        parse_missing(["text"])


def test_a_speech_model_that_cannot_be_had_is_named(predictor, clip, folder):
    with pytest.raises(MalformedInput, match=r"asr: expected a speech recognition model"):
        predictor(clip, asr=str(folder / "no-model"))


def test_three_lines_in_a_notebook(checkpoint, clip, folder, monkeypatch):
    monkeypatch.setenv("LACUNA_CACHE", str(folder / "cache"))
    assert lacuna.predict(clip, checkpoint, text="good") == lacuna.load(checkpoint)(clip, text="good")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = lacuna.nothing


def test_importing_lacuna_imports_nothing_heavy():
    code = "import sys, lacuna; print([m for m in ('torch', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"
