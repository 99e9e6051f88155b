"""Sound. In: a media file, a rate and a span in seconds. Out: mono float32 samples, silent where the track has none.

Sound is cut before it is resampled, and comes in pieces: memory does not grow with a file's length.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, lru_cache
from pathlib import Path

import av
import numpy as np
from av.audio.resampler import AudioResampler

from lacuna.media.container import decode_alone, decoded, opened, stream_of
from lacuna.types import MalformedInput

PREROLL = 0.5  # s of sound decoded before a span, because the first frames after a seek lack their predecessors
MARGIN = 0.05  # s of sound given to the resampler on both sides of a span: far more than its filter's reach
CHANNELS = 7  # planes of sound that PyAV counts rightly; of 8 and more it reads beyond their memory
GAP = 0.1  # s by which sound may be off its time stamps (rounding, encoder delay) before silence is put in
LISTENED = 2.0  # s of sound that tell whether channels are opposed
OPPOSED = 0.01  # of the energy of their differences: what is left of opposed channels when they are added
LOUDEST = 100.0  # times full scale: more is no sound, or integers that were saved as they are in floats


def audio(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> np.ndarray | None:
    """Mono samples (n,) float32 of [start, end), resampled once to `rate` Hz; None without an audio track.

    Sample i is heard at start + i / rate: a track that begins late, or has holes, is silent there.
    """
    pieces = sound(path, rate, start, end)
    return None if pieces is None else np.concatenate([np.zeros(0, np.float32), *pieces])


def sound(path: Path, rate: int, start: float = 0.0, end: float | None = None) -> Iterator[np.ndarray] | None:
    """The same samples in pieces of about a second, so that hours of sound need no memory."""
    with opened(path) as container:
        if stream_of(container, "audio") is None:
            return None
    return _sound(path, rate, start, end)


def _sound(path: Path, rate: int, start: float, end: float | None) -> Iterator[np.ndarray]:
    track = track_of(path, rate)
    source = track.rate
    # The resampler starts on a source sample that is an output sample too, so that a span has the phase of the whole.
    step = Fraction(rate, source).denominator
    first = max(0, math.floor((start - MARGIN) * source / step)) * step
    last = None if end is None else math.ceil((end + MARGIN) * source)
    skipped = round(start * rate) - first * rate // source
    left = math.inf if end is None else round(end * rate) - round(start * rate)
    # From where, does not depend on the rate: extractors that want other rates can share the decoder.
    frames = decoded(path, "audio", max(0.0, start - MARGIN - PREROLL))
    for samples in _resampled(_cut(path, frames, track, first, last), source, rate):
        wanted = samples[skipped : skipped + min(left, len(samples))]
        skipped = max(0, skipped - len(samples))
        left -= len(wanted)
        if len(wanted):
            yield wanted


@dataclass(frozen=True)
class Track:
    """A track's rate in Hz as decoded, and the sign of each channel where they cancel each other, else none."""

    rate: int
    signs: tuple[int, ...] = ()

    @property
    def opposed(self) -> bool:
        return bool(self.signs)


def track_of(path: Path, rate: int = 0) -> Track:
    """What the decoder finds at a track's beginning, because headers understate the rate of some AAC.

    `rate` is that of a track without a sample.
    """
    told = Path(path).stat()
    return _track_of(path, rate, told.st_mtime_ns, told.st_size)


@lru_cache(maxsize=64)
def _track_of(path: Path, rate: int, *_: int) -> Track:
    return heard_in(decode_alone(path, "audio", 0.0), rate)


def heard_in(frames: Iterable[tuple[av.AudioFrame, float]], rate: int = 0) -> Track:
    """What a track's first frames tell of it.

    Of several channels as much is heard as tells whether some are others upside down (a microphone wired so): added,
    they would be silence.
    """
    found, heard, products, weights = 0, 0.0, np.zeros((1, 1)), np.ones(1)
    for frame, _ in frames:
        found = found or frame.sample_rate
        samples = _planes(frame)
        if len(samples) < 2 or heard > LISTENED or not np.isfinite(samples).all():
            break
        if len(samples) != len(products):
            products, weights = np.zeros((len(samples),) * 2), _weights(_names(frame))
        energy = samples @ samples.T
        products = products + energy
        heard += samples.shape[1] / frame.sample_rate if energy.trace() > 1e-6 * samples.shape[1] else 0.0
    return Track(found or rate, _signs(products, weights))


def _signs(products: np.ndarray, weights: np.ndarray) -> tuple[int, ...]:
    """Of channels (C,) with these sums of products (C, C): each one's sign against the loudest; none if no matter."""
    loudest = int(np.argmax(products.diagonal() * weights**2))
    signs = np.where(products[loudest] < 0, -1, 1)
    added, parted = (w @ products @ w for w in (weights, weights * signs))
    return tuple(signs.tolist()) if added < OPPOSED * parted else ()


def _cut(
    path: Path, frames: Iterator[tuple[av.AudioFrame, float]], track: Track, first: int, last: int | None
) -> Iterator[np.ndarray]:
    """The mono samples first <= i < last of the track at its own rate, silence where it has none."""
    source = track.rate
    position, following = first, None  # the next sample wanted; the one that follows what was decoded
    for frame, time in frames:
        if frame.sample_rate != source:
            raise MalformedInput(f"{path}: expected {source} Hz throughout, got {frame.sample_rate} at {time:.2f} s")
        samples, stamp = _mono(frame, track.signs), round(time * source)
        _check_samples(samples, path, time)
        if following is None or abs(stamp - following) > GAP * source:
            following = stamp
        begin, following = following, following + len(samples)
        quiet = (begin if last is None else min(begin, last)) - position
        if quiet > 0:
            yield from _silence(quiet, source)
            position += quiet
        wanted = samples[position - begin : None if last is None else max(0, last - begin)]
        wanted = wanted if position >= begin else samples[:0]
        if len(wanted):
            yield wanted
            position += len(wanted)
        if last is not None and position >= last:
            return


def _check_samples(samples: np.ndarray, path: Path, time: float) -> None:
    loudest = np.abs(samples).max(initial=0.0)
    if not np.isfinite(loudest):
        raise MalformedInput(f"{path}: expected finite samples, got NaN or infinity in the sound at {time:.2f} s")
    if loudest > LOUDEST:
        raise MalformedInput(
            f"{path}: expected samples from -1 to 1, got {loudest:g} in the sound at {time:.2f} s (integers in floats?)"
        )


def _silence(samples: int, source: int) -> Iterator[np.ndarray]:
    return (np.zeros(min(source, samples - done), np.float32) for done in range(0, samples, source))


def _mono(frame: av.AudioFrame, signs: tuple[int, ...]) -> np.ndarray:
    """(n,) float32: the mean of two channels; of more, the centre before the sides before the back, no bass channel."""
    samples, weights = _planes(frame), _weights(_names(frame))
    weights = weights * signs if len(signs) == len(weights) else weights
    return (weights @ samples).astype(np.float32)


def _names(frame: av.AudioFrame) -> tuple[str, ...]:
    return tuple(channel.name for channel in frame.layout.channels)


def _planes(frame: av.AudioFrame) -> np.ndarray:
    """(channels, n) float in [-1, 1]."""
    frame = _packed(frame) if frame.format.is_planar and frame.layout.nb_channels > CHANNELS else frame
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind != "f":
        low, bits = (128, 8) if samples.dtype == np.uint8 else (0, 8 * samples.dtype.itemsize)
        samples = (samples.astype(np.float64) - low) / 2 ** (bits - 1)
    return samples


def _packed(frame: av.AudioFrame) -> av.AudioFrame:
    """The same samples, all channels in one plane."""
    resampler = AudioResampler(format=frame.format.packed, layout=frame.layout, rate=frame.sample_rate)
    return resampler.resample(frame)[0]


@cache
def _weights(names: tuple[str, ...]) -> np.ndarray:
    weights = np.ones(len(names))
    if len(names) > 2 and "FC" in names:
        front = {"FC": 1.0, "FL": math.sqrt(0.5), "FR": math.sqrt(0.5), "LFE": 0.0}
        weights = np.array([front.get(name, 0.5) for name in names])
    return (weights / weights.sum()).astype(np.float32)


def _resampled(pieces: Iterator[np.ndarray], source: int, rate: int) -> Iterator[np.ndarray]:
    if source == rate:
        yield from pieces
        return
    resampler = AudioResampler(format="flt", layout="mono", rate=rate)
    for samples in _gathered(pieces, source):
        given = av.AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        given.sample_rate = source
        yield from (out.to_ndarray()[0].copy() for out in resampler.resample(given))
    yield from (out.to_ndarray()[0].copy() for out in resampler.resample(None))


def _gathered(pieces: Iterator[np.ndarray], least: int) -> Iterator[np.ndarray]:
    """Pieces of at least so many samples: called for every packet, the resampler takes twice the time."""
    waiting: list[np.ndarray] = []
    for piece in pieces:
        waiting.append(piece)
        if sum(map(len, waiting)) >= least:
            yield np.concatenate(waiting)
            waiting = []
    if waiting:
        yield np.concatenate(waiting)
