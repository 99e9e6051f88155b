"""Media as people have them: whole files that look cut, odd pixels, several tracks, playlists, bombs."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from media_files import Video, number_of, picture, sound, truncate, write_video
from PIL import Image

from lacuna.media import PIXELS, container, decode
from lacuna.types import MalformedInput

CODECS = {
    ".flv": {"codec": "flv1", "audio_codec": "aac"},
    ".wmv": {"codec": "wmv2", "audio_codec": "wmav2"},
    ".webm": {"audio_rate": 48000},
    ".mpg": {"codec": "mpeg1video"},
}
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".flv", ".wmv", ".avi", ".ts")


def film(path: Path, **options: object) -> Path:
    codecs = CODECS.get(path.suffix, {})
    if path.suffix == ".flv" and "codec" in codecs:
        codecs = {"audio_codec": "aac"}
    return write_video(path, Video(**{**codecs, **options}))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "options",
    [{"audio_seconds": 4.0}, {"audio_seconds": 1.0}, {"audio_start": 1.0}, {"audio": ""}],
    ids=["sound goes on", "sound ends", "sound begins late", "no sound"],
)
def test_a_whole_file_is_accepted(tmp_path, suffix, options):
    path = film(tmp_path / f"a{suffix}", frames=60, **options)
    assert decode.check(path) == ()
    assert decode.probe(path).duration == pytest.approx(max(2.4, options.get("audio_seconds", 0)), abs=1.1)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm", ".flv", ".wmv", ".avi"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_file_that_really_is_cut_is_refused(tmp_path, suffix, share):
    path = truncate(film(tmp_path / f"a{suffix}", frames=150), share)
    with pytest.raises(MalformedInput):
        decode.check(path)


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
@pytest.mark.parametrize("offset", [4.0, 100.0])
def test_a_segment_whose_clock_goes_on_is_whole_and_a_cut_one_is_not(tmp_path, suffix, offset):
    whole = film(tmp_path / f"whole{suffix}", frames=100)
    path = tmp_path / f"segment{suffix}"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        streams = {s.index: out.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.pts += int(offset / packet.time_base)
                packet.dts += int(offset / packet.time_base)
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    decode.check(path)
    assert decode.probe(path).duration == pytest.approx(4.0, abs=0.1)
    assert [number_of(f.image) for f in decode.frames(path, 1.0, 1.2)] == [25, 26, 27, 28, 29]
    with pytest.raises(MalformedInput, match="cut short"):
        decode.check(truncate(path, 0.6))


@pytest.mark.parametrize("shape", [Fraction(32, 21), Fraction(2, 1), Fraction(8, 9), Fraction(64, 45)])
def test_pictures_have_square_pixels(tmp_path, shape):
    """A disc that is stored squeezed is round when shown."""
    path, width, height = tmp_path / "a.mp4", 96, 96
    shown = round(width * float(shape))
    y, x = np.mgrid[:height, :width]
    disc = (((x + 0.5) * shown / width - shown / 2) ** 2 + (y + 0.5 - height / 2) ** 2 < 30**2) * 255
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.sample_aspect_ratio = shape
        for _ in range(5):
            rgb = np.repeat(disc.astype(np.uint8)[..., None], 3, 2)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        out.mux(stream.encode())
    (first, *_) = [frame.image for frame in decode.frames(path)]
    assert first.shape == (height, shown, 3)
    bright = first.mean(2) > 127
    across, down = bright.any(0).sum(), bright.any(1).sum()
    assert abs(int(across) - 60) <= 2 and abs(int(down) - 60) <= 2


def _changing(path: Path, sizes: list[tuple[int, int]]) -> Path:
    """Ten frames of each size, in one H.264 stream whose headers come again (as streams and joined recordings have)."""
    with path.open("wb") as file:
        for size in sizes:
            part = path.with_suffix(".part.h264")
            with av.open(str(part), "w", format="h264") as out:
                stream = out.add_stream("libx264", rate=25)
                stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
                for number in range(10):
                    frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
                    out.mux(stream.encode(frame))
                out.mux(stream.encode())
            file.write(part.read_bytes())
    return path


@pytest.mark.parametrize(
    ("sizes", "shape"),
    [
        ([(128, 96), (64, 48)], (96, 128)),
        ([(64, 48), (128, 96)], (48, 64)),
        ([(128, 96), (96, 128)], (96, 128)),
        ([(64, 64), (128, 64), (64, 128)], (64, 64)),
    ],
)
def test_a_size_that_changes_on_the_way_keeps_the_first_one(tmp_path, sizes, shape):
    images = [frame.image for frame in decode.frames(_changing(tmp_path / "a.h264", sizes))]
    assert {image.shape for image in images} == {(*shape, 3)} and len(images) >= 10 * len(sizes) - 2
    width, height = sizes[-1]
    scale = min(shape[1] / width, shape[0] / height)
    wide, high = round(width * scale), round(height * scale)
    top, left = (shape[0] - high) // 2, (shape[1] - wide) // 2
    inner = images[-1][top : top + high, left : left + wide]
    assert number_of(np.asarray(Image.fromarray(inner).resize((64, 48)))) == 9
    assert images[-1].sum() - inner.sum(dtype=int) < 16 * images[-1].size * 0.1  # black around it


def _two_tracks(path: Path, default: int) -> Path:
    """Two tracks, 300 and 600 Hz, of which one is marked as default."""
    with av.open(str(path), "w") as out:
        pictures = out.add_stream("libx264", rate=25)
        pictures.width, pictures.height, pictures.pix_fmt = 64, 48, "yuv420p"
        tracks = [out.add_stream("aac", rate=16000, layout="mono") for _ in range(2)]
        for number, track in enumerate(tracks):
            track.disposition = av.stream.Disposition.default if number == default else av.stream.Disposition(0)
        for number in range(25):
            out.mux(pictures.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24")))
        out.mux(pictures.encode())
        for number, track in enumerate(tracks):
            samples = 0.5 * np.sin(2 * np.pi * 300 * (number + 1) * np.arange(16000) / 16000)
            frame = av.AudioFrame.from_ndarray(samples.astype(np.float32)[None], format="fltp", layout="mono")
            frame.sample_rate, frame.pts = 16000, 0
            out.mux(track.encode(frame))
            out.mux(track.encode())
    return path


def _pitch(samples: np.ndarray, rate: int = 16000) -> float:
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


@pytest.mark.parametrize("default", [0, 1])
def test_the_default_track_is_heard_and_several_are_told(tmp_path, default):
    path = _two_tracks(tmp_path / "a.mkv", default)
    assert _pitch(decode.audio(path, 16000)) == pytest.approx(300 * (default + 1), abs=5)
    assert decode.check(path) == ("several audio tracks, of which the default one is heard",)


def _stereo(path: Path, left: np.ndarray, right: np.ndarray) -> Path:
    with av.open(str(path), "w") as out:
        track = out.add_stream("pcm_s16le", rate=16000, layout="stereo")
        samples = (np.stack([left, right], 1) * 32767).astype(np.int16).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="stereo")
        frame.sample_rate = 16000
        out.mux(track.encode(frame))
        out.mux(track.encode())
    return path


@pytest.mark.parametrize("silence", [0.0, 1.0])
@pytest.mark.parametrize("gain", [-1.0, -0.95, 1.0, 0.0])
def test_channels_that_cancel_each_other_are_heard(tmp_path, gain, silence):
    times = np.arange(3 * 16000) / 16000
    left = np.where(times < silence, 0.0, sound(times))
    path = _stereo(tmp_path / "a.wav", left, gain * left)
    heard, expected = decode.audio(path, 16000), left * (1 + abs(gain)) / 2
    assert np.abs(heard - expected).max() < 1e-3
    assert np.abs(decode.audio(path, 16000, 1.5, 2.5) - expected[24000:40000]).max() < 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_sound_that_is_no_number_is_refused_with_its_second(tmp_path, value):
    path = tmp_path / "a.wav"
    samples = np.zeros(3 * 16000, np.float32)
    samples[2 * 16000 + 5] = value
    with av.open(str(path), "w") as out:
        track = out.add_stream("pcm_f32le", rate=16000, layout="mono")
        for first in range(0, len(samples), 1600):
            frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1600], format="flt", layout="mono")
            frame.sample_rate, frame.pts = 16000, first
            out.mux(track.encode(frame))
        out.mux(track.encode())
    with pytest.raises(MalformedInput, match=r"a\.wav: expected finite samples, got NaN or infinity .* at [12]\."):
        decode.audio(path, 16000)
    assert len(decode.audio(path, 16000, 0.0, 1.0)) == 16000


PLAYLISTS = {
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:4,\n{}\n#EXT-X-ENDLIST\n",
    "concat": "ffconcat version 1.0\nfile '{}'\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n",
    "dash": '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><BaseURL>{}</BaseURL></Period></MPD>',
    "pls": "[playlist]\nFile1={}\nLength1=-1\n",
    "xspf": '<?xml version="1.0"?><playlist><trackList><track><location>{}</location></track></trackList></playlist>',
    "webvtt": "WEBVTT\n\n00:00.000 --> 00:04.000\nwords\n",
    "lavfi": "movie={}",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_what_would_open_other_files_is_refused(tmp_path, kind):
    other = write_video(tmp_path / "other.mp4", Video(frames=5))
    for suffix in (".mp4", ".mkv", ".m3u8", ".mpd", ".sdp", ".txt", ".ts", ".avi"):
        path = tmp_path / f"list{suffix}"
        path.write_text(PLAYLISTS[kind].format(other))
        for read in (decode.probe, decode.check, lambda p: list(decode.frames(p)), lambda p: decode.audio(p, 16000)):
            with pytest.raises(MalformedInput, match="expected"):
                read(path)


def test_no_container_that_opens_others_is_on_the_list():
    listed = container.FORMATS.split(",")
    others = (
        "hls",
        "dash",
        "concat",
        "sdp",
        "rtsp",
        "rtp",
        "image2",
        "lavfi",
        "imf",
        "webm_dash_manifest",
        "tty",
        "vobsub",
    )
    assert not {*listed} & {*others} and container.OPTIONS["protocol_whitelist"] == "file"


@pytest.mark.parametrize(("codec", "suffix"), [("png", ".mov"), ("mjpeg", ".mkv"), ("mjpeg", ".avi")])
def test_frames_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, codec, suffix, monkeypatch):
    monkeypatch.setattr(container, "PIXELS", 26000)
    monkeypatch.setattr(container, "OPTIONS", container.OPTIONS | {"max_pixels": str(26000)})
    fmt = "rgb24" if codec == "png" else "yuvj420p"
    for size, fits in (((200, 100), True), ((300, 100), False)):
        path = write_video(
            tmp_path / f"{size[0]}{suffix}", Video(frames=2, size=size, codec=codec, pix_fmt=fmt, audio="")
        )
        if fits:
            assert len(list(decode.frames(path))) == 2
        else:
            with pytest.raises(MalformedInput, match="expected pictures of at most 26000 pixels"):
                list(decode.frames(path))


@pytest.mark.parametrize("suffix", [".png", ".gif", ".tiff", ".bmp", ".webp", ".jpg"])
def test_pictures_of_too_many_pixels_are_refused_before_they_are_decoded(tmp_path, suffix, monkeypatch):
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (40, 30)).save(path)
    assert decode.image(path).shape == (30, 40, 3)
    monkeypatch.setattr(decode, "PIXELS", 40 * 30 - 1)
    monkeypatch.setattr(Image.Image, "load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(MalformedInput, match="expected at most 1199 pixels, got 40 x 30"):
        decode.image(path)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9500, 20000, 60000])
def test_a_bomb_is_refused_by_its_header(tmp_path, side):
    path = tmp_path / "a.bmp"
    Image.new("L", (4, 4)).save(path)
    data = bytearray(path.read_bytes())
    data[18:26] = side.to_bytes(4, "little") * 2  # width and height
    path.write_bytes(data)
    assert side * side > PIXELS
    with pytest.raises(MalformedInput, match=f"expected at most {PIXELS} pixels"):
        decode.image(path)
