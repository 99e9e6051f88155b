"""Sound as people have it: many channels, channels that cancel each other, numbers that are no sound, joined files."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import Video, number_of, sound, truncate, write_label_csv, write_video

from lacuna.commands.check import check
from lacuna.media import decode
from lacuna.params import Params, load_params
from lacuna.types import MalformedInput

RATE = 16000
TONE = sound(np.arange(3 * RATE) / RATE)


def written(path: Path, channels: np.ndarray, layout: str, codec: str = "pcm_f32le") -> Path:
    """A file of pictures and of these channels (C, n) beside them."""
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("ffv1", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        track = out.add_stream(codec, rate=RATE, layout=layout)
        resampler = av.AudioResampler(format=track.format, layout=layout, rate=RATE)
        for _ in range(round(25 * channels.shape[1] / RATE)):
            out.mux(pictures.encode(av.VideoFrame(64, 48, "yuv420p")))
        out.mux(pictures.encode())
        for first in range(0, channels.shape[1], 1024):
            piece = channels[:, first : first + 1024].astype(np.float32).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece), format="flt", layout=layout)
            frame.sample_rate, frame.pts = RATE, first
            for given in resampler.resample(frame):
                out.mux(track.encode(given))
        out.mux(track.encode())
    return path


@pytest.mark.parametrize("layout", ["mono", "stereo", "quad", "5.1", "6.1", "7.1", "hexadecagonal"])
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac", "flac"])
def test_any_number_of_channels_is_heard(tmp_path, layout, codec):
    """Of 8 and more planes PyAV counts too many, and reads beyond them."""
    if codec == "flac" and layout == "hexadecagonal":
        return  # FLAC has 8 at most
    path = write_video(tmp_path / "a.mkv", Video(frames=75, layout=layout, audio_codec=codec))
    heard, expected = decode.audio(path, RATE), TONE
    assert len(heard) == pytest.approx(len(expected), abs=1100)  # a codec's frame
    if codec == "pcm_s16le" or (codec == "flac" and layout != "quad"):
        assert np.abs(heard[: len(expected)] - expected).max() < 1e-3
    else:  # AAC takes its own delay and treats the bass channel as it likes
        assert np.corrcoef(heard[4000:40000], expected[4000:40000])[0, 1] > 0.9


@pytest.mark.parametrize("silence", [0.0, 2.0, 45.0])
@pytest.mark.parametrize(
    ("layout", "signs"), [("stereo", (1, -1)), ("quad", (1, -1, 1, -1)), ("5.1", (1, -1, 0, 0, 0, 0))]
)
def test_channels_that_cancel_each_other_are_heard_and_told(tmp_path, layout, signs, silence):
    said = np.concatenate([np.zeros(round(silence * RATE)), TONE])
    path = written(tmp_path / "a.mkv", np.outer(signs, said), layout)
    heard = decode.audio(path, RATE)
    level = np.abs(heard).max() / np.abs(said).max()
    assert level == pytest.approx(np.abs(signs).mean() if layout != "5.1" else level) and level > 0.2
    assert np.abs(heard - level * said).max() < 1e-3
    assert decode.check(path) == ("channels that cancel each other, of which the difference is heard",)


@pytest.mark.parametrize(
    ("layout", "shares"), [("stereo", (1, 0)), ("stereo", (1, 0.5)), ("stereo", (1, -0.5)), ("quad", (1, 1, 1, -1))]
)
def test_channels_that_leave_something_are_added_as_usual(tmp_path, layout, shares):
    path = written(tmp_path / "a.mkv", np.outer(shares, TONE), layout)
    assert np.abs(decode.audio(path, RATE) - np.mean(shares) * TONE).max() < 1e-3 and decode.check(path) == ()


@pytest.mark.parametrize("codec", ["pcm_f32le", "pcm_f64le"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (np.nan, r"got NaN or infinity in the sound at 1\.98 s"),
        (np.inf, r"got NaN or infinity in the sound at 1\.98 s"),
        (1e30, r"expected samples from -1 to 1, got 1e\+30 in the sound at 1\.98 s"),
        (-32768.0, r"expected samples from -1 to 1, got 32768 in the sound at 1\.98 s \(integers in floats\?\)"),
    ],
)
def test_what_extraction_refuses_in_sound_check_refuses_too(tmp_path, codec, value, told):
    samples = TONE.copy()
    samples[2 * RATE + 5] = value
    path = written(tmp_path / "a.mkv", samples[None], "mono", codec)
    for refuse in (decode.check, lambda path: decode.audio(path, RATE)):
        with pytest.raises(MalformedInput, match=told):
            refuse(path)
    assert decode.check(path, 0.0, 1.0) == ()  # the span before it is sound
    assert decode.check(written(tmp_path / "b.mkv", 1.5 * TONE[None], "mono", codec)) == ()  # too loud, but sound


def prepared(tmp_path, monkeypatch, *files: Path) -> Params:
    monkeypatch.chdir(tmp_path)
    write_label_csv(tmp_path / "raw/own", [{"clip_id": file.stem} for file in files])
    for file in files:
        file.rename(tmp_path / "raw/own/Raw/v" / file.name)
    values = {"datasets": ["own"], "models": [], "seeds": [1], "workers": 1, "export": {"features": []}}
    (tmp_path / "params.yaml").write_text(
        json.dumps(values | {"extract": {"extractors": []}, "train": {"features": []}})
    )
    return load_params()


def test_check_decodes_all_where_it_is_asked_to(tmp_path, monkeypatch):
    """A rate that changes on the way is seen by who decodes alone."""
    (tmp_path / "raw/own/Raw/v").mkdir(parents=True)
    good = write_video(tmp_path / "good.mp4", Video(frames=10))
    parts = [
        write_video(tmp_path / f"part{rate}.ts", Video(audio_rate=rate, audio_codec="mp2")) for rate in (16000, 48000)
    ]
    bad = tmp_path / "bad.ts"
    bad.write_bytes(b"".join(part.read_bytes() for part in parts))
    params = prepared(tmp_path, monkeypatch, good, bad)
    lines, sound_ = check(params, "own")
    assert sound_ and lines == ["own: 2 clips (2 train), 0 refused"]
    lines, sound_ = check(params, "own", whole=True)
    assert not sound_ and lines[0] == "own: 2 clips (2 train), 0 refused"
    assert lines[1].startswith(
        "refused by extract  v$_$bad  raw/own/Raw/v/bad.ts: expected 16000 Hz throughout, got 48000"
    )
    assert lines[2].startswith("`dvc repro extract` will stop: expected at most extract.max_rejects = 10% of 2 clips")


@pytest.mark.parametrize("frames", [20, 25, 60])
@pytest.mark.parametrize("suffix", [".ts", ".mpg"])
def test_recordings_that_were_joined_are_seen_and_heard_to_their_end(tmp_path, frames, suffix):
    one = write_video(tmp_path / f"one{suffix}", Video(frames=frames))
    path = tmp_path / f"two{suffix}"
    path.write_bytes(one.read_bytes() * 2)
    shown = list(decode.frames(path))
    assert [number_of(frame.image) for frame in shown] == [*range(frames)] * 2
    assert (np.diff([frame.time for frame in shown]) > 0).all()
    assert shown[-1].time == pytest.approx(2 * frames / 25, abs=0.15)
    heard = decode.audio(path, RATE)
    assert len(heard) / RATE == pytest.approx(2 * frames / 25, abs=0.2)
    assert np.abs(heard[-RATE // 4 :]).max() > 0.2


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_gif_without_its_end_is_refused(tmp_path, share):
    path = write_video(tmp_path / "a.gif", Video(codec="gif", pix_fmt="rgb8", audio=""))
    assert decode.check(path) == ()
    path.write_bytes(path.read_bytes() + b"\0\0")
    assert decode.check(path) == ()
    with pytest.raises(MalformedInput, match="cut short"):
        decode.check(truncate(path, share))
