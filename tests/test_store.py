"""Features on disk: what is written is read, byte for byte the same each time, and half a file is never left."""

import h5py
import numpy as np
import pytest
from builders import sequence
from hypothesis import given, settings
from hypothesis import strategies as st

from lacuna.storage import features
from lacuna.storage.features import FeatureFile, Origin, write_features
from lacuna.storage.files import replacing
from lacuna.types import FeatureSequence, MalformedInput

ORIGIN = Origin("made", "audio", ("c0", "c1"), {"hop": 512}, {"numpy": "1"})


def ragged(lengths: list[int]) -> list[tuple[str, FeatureSequence]]:
    rng = np.random.default_rng(0)
    return [(f"v$_${i}", sequence(rng.normal(size=(n, 2)), rng.random(n) < 0.7)) for i, n in enumerate(lengths)]


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), max_size=8))
def test_what_is_written_is_read(tmp_path_factory, lengths):
    path, made = tmp_path_factory.mktemp("store") / "a.h5", ragged(lengths)
    assert write_features(path, ORIGIN, made) == len(lengths)
    with FeatureFile(path) as file:
        assert file.origin == ORIGIN
        assert file.ids == tuple(clip for clip, _ in made)
        assert file.lengths().tolist() == lengths
        for clip_id, wanted in made:
            for name in ("values", "times", "seen"):
                np.testing.assert_array_equal(getattr(file[clip_id], name), getattr(wanted, name))


@settings(max_examples=25, deadline=None)
@given(lengths=st.lists(st.integers(0, 40), max_size=8), order=st.randoms(), piece=st.integers(1, 400))
def test_many_clips_are_what_each_is(tmp_path_factory, lengths, order, piece):
    path, made = tmp_path_factory.mktemp("store") / "a.h5", ragged(lengths)
    write_features(path, ORIGIN, made)
    wanted = [clip for clip, _ in made] + ["not there"]
    order.shuffle(wanted)
    with pytest.MonkeyPatch.context() as patch, FeatureFile(path) as file:
        patch.setattr(features, "READ_BYTES", piece)
        for clip_id, told in zip(wanted, file.each(wanted), strict=True):
            for name in ("values", "times", "seen"):
                np.testing.assert_array_equal(getattr(told, name), getattr(file[clip_id], name))


def test_two_writes_give_the_same_bytes(tmp_path):
    for name in ("a.h5", "b.h5"):
        write_features(tmp_path / name, ORIGIN, ragged([3, 0, 7]))
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_clip_in_pieces_is_one_clip(tmp_path):
    whole = ragged([3, 0, 700, 2])
    pieces = [
        (clip, FeatureSequence(s.values[part], s.times[part], s.seen[part], s.columns))
        for clip, s in whole
        for part in (slice(0, 500), slice(500, None))
        if part.start == 0 or len(s) > 500
    ]
    assert write_features(tmp_path / "b.h5", ORIGIN, pieces) == 4
    with FeatureFile(tmp_path / "b.h5") as file:
        assert file.lengths().tolist() == [3, 0, 700, 2]
        for clip, wanted in whole:
            np.testing.assert_array_equal(file[clip].values, wanted.values)


def test_other_programs_can_read_it(tmp_path):
    write_features(tmp_path / "a.h5", ORIGIN, ragged([3, 2]))
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["values"].shape == (5, 2) and file["offsets"][:].tolist() == [0, 3, 5]
        assert file["values"].compression == "gzip"
        assert not file["values"].track_times if hasattr(file["values"], "track_times") else True


def test_a_clip_that_is_not_there_has_no_frames(tmp_path):
    write_features(tmp_path / "a.h5", ORIGIN, ragged([3]))
    with FeatureFile(tmp_path / "a.h5") as file:
        assert "other" not in file and len(file["other"]) == 0 and file["other"].columns == ORIGIN.columns


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.h5"
    write_features(path, ORIGIN, ragged([3]))
    before = path.read_bytes()

    def broken():
        yield from ragged([3])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_features(path, ORIGIN, broken())
    assert path.read_bytes() == before and {p.name for p in tmp_path.iterdir()} == {"a.h5", "a.h5.sha256"}


def test_replacing_makes_files_that_others_may_read(tmp_path):
    with replacing(tmp_path / "a") as temporary:
        temporary.touch(mode=0o600)
    assert (tmp_path / "a").stat().st_mode & 0o044


def test_wrong_columns_are_named(tmp_path):
    other = FeatureSequence(np.zeros((1, 2), np.float32), np.zeros(1), np.ones(1, bool), ("x", "y"))
    with pytest.raises(MalformedInput, match=r"v\$_\$9.*c0.*x"):
        write_features(tmp_path / "a.h5", ORIGIN, [("v$_$9", other)])


@pytest.mark.parametrize("content", [b"", b"no HDF5"])
def test_a_file_that_is_none_of_ours_is_named(tmp_path, content):
    path = tmp_path / "a.h5"
    with pytest.raises(MalformedInput, match=r"a\.h5.*none"):
        FeatureFile(path)
    path.write_bytes(content)
    with pytest.raises(MalformedInput, match=r"a\.h5"):
        FeatureFile(path)
