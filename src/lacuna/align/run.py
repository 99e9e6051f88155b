"""Align all clips of a dataset. In: an aligner, clips and their features. Out: a frame for each token, and rejects.

What is wrong with one clip (no word times for it, too little sound for its text) leaves that clip without frames and
stands among the rejects; the others go on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lacuna.align.words import Aligner, average
from lacuna.compute.workers import progress
from lacuna.storage.features import FeatureFile
from lacuna.types import Clip, FeatureSequence, MalformedInput, Reject, empty_sequence


def aligned(
    aligner: Aligner, clips: Sequence[Clip], file: FeatureFile, rejects: list[Reject]
) -> Iterator[tuple[str, FeatureSequence]]:
    """(clip id, features averaged over words) in order; a clip that fails has no frames and is added to `rejects`."""
    if not file.lengths().any():  # the dataset has none of it: that is no fault of any clip
        rejects.append(Reject("*", file.path.as_posix(), f"no clip has {file.origin.modality} to align", "align"))
        yield from ((clip.id, empty_sequence(file.origin.columns)) for clip in clips)
        return
    for clip in progress(clips, len(clips), "align"):
        try:
            sequence = average(file[clip.id], aligner.spans(clip))
        except MalformedInput as error:
            sequence = empty_sequence(file.origin.columns)
            path = clip.path.as_posix() if clip.path else ""
            rejects.append(Reject(clip.id, path, f"kept without aligned {file.origin.modality}: {error}", "align"))
        yield clip.id, sequence
