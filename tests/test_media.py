"""media: spans, time stamps, rotation, sound, and damaged files."""

import resource

import av
import numpy as np
import pytest
from media_files import Video, damage, number_of, picture, sound, truncate, write_video

from lacuna.media import decode
from lacuna.media.container import opened
from lacuna.types import MalformedInput


def numbers(path, *span, **options):
    return [number_of(frame.image) for frame in decode.frames(path, *span, **options)]


def times(path, *span, **options):
    return [frame.time for frame in decode.frames(path, *span, **options)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".mpg", ".ts", ".webm"])
def test_a_span_holds_the_frames_and_sound_of_the_whole(tmp_path, suffix):
    rate = 48000 if suffix == ".webm" else 16000
    path = write_video(tmp_path / f"clip{suffix}", Video(frames=75, audio_rate=rate))
    assert numbers(path) == list(range(75))
    placed = times(path)  # some containers let the sound begin a little earlier
    for start, end in ((0.0, 0.4), (0.5, 1.5), (1.0, 2.0), (0.93, 1.31), (2.2, None)):
        until = np.inf if end is None else end
        assert numbers(path, start, end) == [n for n, t in enumerate(placed) if start - 1e-6 <= t < until - 1e-6]
        for wanted in (16000, 22050):
            whole, cut = decode.audio(path, wanted), decode.audio(path, wanted, start, end)
            # Time stamps in whole milliseconds (Matroska) cannot place a sample better than that.
            most = wanted // 1000 if suffix in (".mkv", ".webm") else 0
            assert distance(cut, whole, round(start * wanted), most) < 0.01


def distance(cut, whole, begin, most):
    """The largest difference of the cut from the whole at the best place within `most` samples of `begin`."""
    length = len(cut) - most
    places = range(max(0, begin - most), min(begin + most, len(whole) - length) + 1)
    return min(np.abs(cut[:length] - whole[place : place + length]).max() for place in places)


def test_times_start_at_the_span(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    assert times(path, 0.4, 0.56) == pytest.approx([0, 0.04, 0.08, 0.12])


@pytest.mark.parametrize(
    ("rate", "fps", "expected"), [(25, 30, 30), (25, 5, 5), (1, 10, 50), (120, 30, 30), (30, 30, 30)]
)
def test_sampling_by_time(tmp_path, rate, fps, expected):
    count = rate if rate > 1 else 5
    path = write_video(tmp_path / "clip.mp4", Video(frames=count, rate=rate))
    shown = list(decode.frames(path, fps=fps))
    assert [frame.time for frame in shown] == pytest.approx([k / fps for k in range(expected)])
    assert [number_of(frame.image) for frame in shown] == [int(k / fps * rate + 1e-6) for k in range(expected)]


def test_a_span_between_two_frames_shows_the_one_on_screen(tmp_path):
    path = write_video(tmp_path / "slow.mp4", Video(frames=4, rate=1))
    assert numbers(path, 1.2, 1.8) == [1]
    assert numbers(path, 1.5, 2.5, fps=4) == [1, 1, 2, 2]


def test_variable_frame_rate_keeps_its_times(tmp_path):
    given = [0, 0.04, 0.08, 0.5, 0.54, 1.2]
    path = write_video(tmp_path / "vfr.mkv", Video(frames=6, times=given, audio=""))
    assert times(path) == pytest.approx(given, abs=0.002)
    assert [number_of(f.image) for f in decode.frames(path, fps=10)][:12] == [0, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4, 4]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("rotation", [0, 90, -90, 180])
def test_rotated_phone_video_is_shown_upright(tmp_path, rotation, mirrored):
    path = write_video(tmp_path / "phone.mp4", Video(frames=2, rotation=rotation, mirrored=mirrored, audio=""))
    upright = np.rot90(picture(1), rotation // 90 % 4)
    upright = upright[:, ::-1] if mirrored else upright
    shown = list(decode.frames(path))[1].image
    assert shown.shape == upright.shape
    assert np.abs(shown.astype(int) - upright)[8:-8, 8:-8].mean() < 20


@pytest.mark.parametrize(
    "video",
    [
        Video(frames=1),
        Video(size=(66, 50)),
        Video(size=(65, 49), pix_fmt="yuv444p"),
        Video(pix_fmt="yuv420p10le", codec="libx265"),
        Video(pix_fmt="yuv420p10le"),
    ],
    ids=["one frame", "odd size", "odder size", "10 bit HEVC", "10 bit H.264"],
)
def test_unusual_pictures(tmp_path, video):
    path = write_video(tmp_path / "clip.mp4", video)
    shown = list(decode.frames(path))
    assert [number_of(frame.image) for frame in shown] == list(range(video.frames))
    assert shown[0].image.shape == (video.size[1], video.size[0], 3) and shown[0].image.dtype == np.uint8


@pytest.mark.parametrize("layout", ["mono", "stereo", "5.1"])
@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_sound_of_any_layout_and_rate_has_the_level_it_had(tmp_path, layout, rate):
    path = write_video(tmp_path / "clip.mkv", Video(audio_rate=rate, layout=layout, audio_codec="pcm_s16le"))
    heard = decode.audio(path, 16000)
    expected = sound(np.arange(16000) / 16000)
    assert len(heard) == pytest.approx(16000, abs=2) and heard.dtype == np.float32
    assert np.abs(heard[200:15800] - expected[200:15800]).max() < 0.01


@pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s16le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "flac"])
def test_sample_formats(tmp_path, codec):
    path = write_video(tmp_path / "clip.mkv", Video(audio_codec=codec))
    assert np.abs(decode.audio(path, 16000) - sound(np.arange(16000) / 16000)).max() < 0.01


def test_sound_that_begins_late_stays_beside_its_pictures(tmp_path):
    path = write_video(tmp_path / "late.mkv", Video(audio_start=0.4, audio_seconds=0.6, audio_codec="pcm_s16le"))
    heard = decode.audio(path, 16000)
    assert not heard[:6380].any() and heard[6420:].any()
    assert np.abs(heard[6400:] - sound(np.arange(6400, len(heard)) / 16000)).max() < 0.01
    cut = decode.audio(path, 16000, 0.2, 0.6)
    assert np.abs(cut - heard[3200:9600]).max() < 1e-3


def test_clips_that_do_not_start_at_second_zero(tmp_path):
    given = [7 + k / 25 for k in range(25)]
    video = Video(times=given, audio_start=7.0, audio_codec="pcm_s16le", gop=1)
    path = write_video(tmp_path / "later.mkv", video)
    assert times(path) == pytest.approx([k / 25 for k in range(25)], abs=0.002)
    assert numbers(path, 0.4, 0.6) == [10, 11, 12, 13, 14]
    assert np.abs(decode.audio(path, 16000) - sound(7 + np.arange(16000) / 16000)).max() < 0.01


def test_no_audio_track_and_a_silent_one(tmp_path):
    assert decode.audio(write_video(tmp_path / "mute.mp4", Video(audio="")), 16000) is None
    silent = decode.audio(write_video(tmp_path / "silent.mp4", Video(audio="silence")), 16000)
    assert len(silent) >= 16000 and not silent.any()
    assert not decode.probe(tmp_path / "mute.mp4").audio and decode.probe(tmp_path / "silent.mp4").audio


@pytest.mark.parametrize("codec", ["mpeg4", "libx264", "libx265"])
def test_a_damaged_middle_costs_only_its_frames(tmp_path, codec):
    path = write_video(tmp_path / "hurt.mp4", Video(frames=100, codec=codec, gop=5, size=(128, 96)))
    damage(path, 0.45, 0.5)
    decode.check(path)
    shown = [(frame.time, number_of(frame.image)) for frame in decode.frames(path)]
    right = [number for time, number in shown if round(time * 25) == number]
    assert len(right) >= 75 and right[0] == 0 and right[-1] == 99
    assert len(decode.audio(path, 16000)) == pytest.approx(64000, abs=2000)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov", ".avi", ".mpg", ".ts", ".webm", ".flv", ".wmv"])
@pytest.mark.parametrize("span", [(0.0, None), (0.0, 0.5), (0.7, None)])
def test_a_check_opens_its_file_once(tmp_path, monkeypatch, suffix, span):
    path = write_video(tmp_path / f"clip{suffix}", Video(frames=50, codec="flv" if suffix == ".flv" else ""))
    opened, open_file = [], av.open
    monkeypatch.setattr(av, "open", lambda name, **options: opened.append(name) or open_file(name, **options))
    assert decode.check(path, *span) == () and opened == [f"file:{path}"]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".webm"])
def test_a_file_cut_short_is_told(tmp_path, suffix):
    rate = 48000 if suffix == ".webm" else 16000
    path = write_video(tmp_path / f"cut{suffix}", Video(frames=150, audio_rate=rate))
    decode.check(path)
    with pytest.raises(MalformedInput, match=r"cut short|readable media"):
        decode.check(truncate(path, 0.5))


@pytest.mark.parametrize(
    "content", [b"", b"not a video at all" * 100, b"\x00" * 4096, b"#EXTM3U\n#EXTINF:1,\n/etc/hosts\n"]
)
def test_what_is_no_video_is_told(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    for read in (decode.check, decode.probe, lambda p: list(decode.frames(p)), lambda p: decode.audio(p, 16000)):
        with pytest.raises(MalformedInput, match=r"clip\.mp4: expected"):
            read(path)


def test_missing_files_folders_and_spans_outside_are_told(tmp_path):
    path = write_video(tmp_path / "clip.mp4")
    for bad in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(MalformedInput, match="expected a media file"):
            decode.check(bad)
    for span in ((5.0, 6.0), (0.5, 9.0)):
        with pytest.raises(MalformedInput, match="expected"):
            decode.check(path, *span)


def test_sound_alone_is_no_video(tmp_path):
    path = write_video(tmp_path / "clip.mkv")
    with opened(path) as whole, av.open(str(tmp_path / "voice.m4a"), "w") as out:
        stream = out.add_stream("aac", rate=16000, layout="mono")
        for frame in whole.decode(audio=0):
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    assert len(decode.audio(tmp_path / "voice.m4a", 16000)) >= 16000
    with pytest.raises(MalformedInput, match="video stream"):
        decode.check(tmp_path / "voice.m4a")


@pytest.mark.parametrize("name", ["two words.mp4", "视频 一.mp4", "a:b.mp4", "100%d.mp4", "CLIP.MP4"])
def test_names_with_anything_in_them(tmp_path, name):
    path = write_video(tmp_path / name, Video(frames=3))
    decode.check(path)
    assert numbers(path) == [0, 1, 2]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mpg", ".ts"])
def test_damage_anywhere_raises_nothing_else(tmp_path, suffix):
    whole = write_video(tmp_path / f"whole{suffix}", Video(frames=10)).read_bytes()
    path, random = tmp_path / f"hurt{suffix}", np.random.default_rng(0)
    for turn in range(8):
        data = np.frombuffer(whole, np.uint8).copy()
        data[random.integers(0, len(data), 20)] = random.integers(0, 256, 20)
        path.write_bytes(data.tobytes()[: None if turn % 2 else random.integers(1, len(data))])
        for read in (
            decode.check,
            lambda p: list(decode.frames(p, fps=30)),
            lambda p: decode.audio(p, 16000, 0.1, 0.3),
        ):
            try:
                read(path)
            except MalformedInput as error:
                assert path.name in str(error)


def test_memory_does_not_grow_with_length(tmp_path):
    short = write_video(tmp_path / "short.mp4", Video(frames=50, size=(320, 240), audio=""))
    long = write_video(tmp_path / "long.mp4", Video(frames=1500, size=(320, 240), audio=""))
    for _ in decode.frames(short):
        pass
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in decode.frames(long):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # KiB; its pictures are 345 MB


def test_4k_pictures(tmp_path):
    video = Video(frames=3, size=(3840, 2160), audio="")
    shown = list(decode.frames(write_video(tmp_path / "4k.mp4", video)))
    assert [number_of(frame.image) for frame in shown] == [0, 1, 2] and shown[0].image.shape == (2160, 3840, 3)


def test_more_than_half_an_hour(tmp_path):
    """31 minutes at 1 frame/s: any second of it is found, and its sound comes in pieces of about a second."""
    video = Video(frames=1860, rate=1, audio_rate=8000, audio_codec="pcm_s16le", gop=60)
    path = write_video(tmp_path / "long.mkv", video)
    decode.check(path)
    assert numbers(path, 1800.0, 1803.0) == [n % 256 for n in (1800, 1801, 1802)]
    assert len(list(decode.frames(path, fps=0.1))) == 186
    lengths = [len(piece) for piece in decode.sound(path, 8000)]
    assert sum(lengths) == 1860 * 8000 and max(lengths) < 3 * 8000
    cut = decode.audio(path, 8000, 1700.0, 1700.1)
    assert np.abs(cut - sound(1700 + np.arange(800) / 8000)).max() < 0.01


def test_images_of_any_mode(tmp_path):
    from PIL import Image

    for mode in ("RGB", "L", "P", "RGBA", "CMYK", "1", "I;16"):
        path = tmp_path / f"{mode.replace(';', '')}.{'tif' if mode in ('CMYK', 'I;16') else 'png'}"
        Image.new(mode, (7, 5)).save(path)
        assert decode.image(path).shape == (5, 7, 3)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff nothing")
    with pytest.raises(MalformedInput, match=r"bad\.jpg"):
        decode.image(tmp_path / "bad.jpg")
