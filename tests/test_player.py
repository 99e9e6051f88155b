"""The clip on the page: small, H.264 and AAC, as long as the clip, and the same bytes each time."""

import io

import av
import numpy as np
import pytest
from media_files import Video, number_of, write_video

from lacuna.figures import player
from lacuna.types import Clip


def clip(path, start=0.0) -> Clip:
    return Clip("a", "d", "test", path=path, start=start)


def opened(mp4: bytes):
    return av.open(io.BytesIO(mp4))


def test_the_clip_is_made_small_and_keeps_its_sound(tmp_path):
    path = write_video(tmp_path / "a.avi", Video(frames=60, rate=30, size=(960, 540)))
    with opened(player.encoded(clip(path), None)) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert (video.width, video.height, video.average_rate) == (320, 180, 25)
        assert file.duration / av.time_base == pytest.approx(2.0, abs=0.1)


def test_a_span_is_cut_out(tmp_path):
    path = write_video(tmp_path / "a.mp4", Video(frames=50, size=(128, 96)))
    with opened(player.encoded(clip(path, start=0.4), 1.2)) as file:
        numbers = [number_of(frame.to_ndarray(format="rgb24")) for frame in file.decode(video=0)]
    assert numbers == list(range(10, 30))


def test_what_does_not_move_is_not_played_and_silence_is_no_fault(tmp_path):
    heard = write_video(tmp_path / "a.mp4", Video(frames=10, audio=""))
    with opened(player.encoded(clip(heard), None)) as file:
        assert not file.streams.audio and file.streams.video[0].frames == 10
    with av.open(str(tmp_path / "a.wav"), "w") as file:
        stream = file.add_stream("pcm_s16le", rate=16000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1600), np.int16), format="s16", layout="mono")
        sound.sample_rate = 16000
        file.mux(stream.encode(sound))
    assert player.encoded(clip(tmp_path / "a.wav"), None) is None


def test_no_clip_takes_more_than_its_share(tmp_path, monkeypatch):
    path = write_video(tmp_path / "a.mp4", Video(frames=50, size=(320, 240)))
    best = player.encoded(clip(path), None)
    assert player.encoded(clip(path), None) == best
    monkeypatch.setattr(player, "MOST", len(best) - 1)
    assert len(player.encoded(clip(path), None)) < len(best)
    monkeypatch.setattr(player, "MOST", 100)
    assert player.encoded(clip(path), None) is None
