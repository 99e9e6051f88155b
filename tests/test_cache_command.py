"""`lacuna cache`: every room is listed with its size, and only what is named and old enough goes."""

import os
import sys
import time

import pytest

from lacuna import cli
from lacuna.commands import cache

KEY, OTHER = "a" * 64, "b" * 64
ENTRIES = {  # path of an entry: files in it, bytes of each; "" is the entry itself
    f"face/aa/{KEY}.npz": {"": 3 << 20},
    f"face/bb/{OTHER}.npz": {"": 1 << 20},
    f"packed/{KEY}": {"values": 2 << 20, "index.npz": 1 << 19},
    f"runs/train/{KEY}": {"processed/mine/models/lnln/1/model.json": 1 << 18, "SHA256SUMS": 0},
    f"runs/evaluate/{OTHER}": {"processed/mine/scores/lnln.json": 1 << 18},
    f"training/{KEY}.safetensors": {"": 1 << 10},
}
ROOMS = ["face", "packed", "runs", "training"]
DAY = 24 * 3600


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A cache in which the i-th entry of `ENTRIES` is 10 i days old; and a file that someone writes."""
    root = tmp_path / "cache"
    for i, (entry, files) in enumerate(ENTRIES.items()):
        for name, size in files.items():
            path = root / entry / name if name else root / entry
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(bytes(size))
            os.utime(path, (time.time() - 10 * i * DAY,) * 2)
    (root / "face" / "aa" / f".lacuna-{'0' * 16}.tmp").write_bytes(bytes(100))
    monkeypatch.setenv("LACUNA_CACHE", str(root))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return root


def typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["lacuna", "cache", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
        raise SystemExit(0)
    return ended.value.code or 0


def left(root):
    return {entry for entry in ENTRIES if (root / entry).exists()}


def test_rooms_are_told_with_their_entries_and_sizes(root):
    told = {name: row for name, *row in cache.rows(root)}
    assert told == {
        "face": ["2", "4.0 MiB", "10 d", "0 d"],
        "packed": ["1", "2.5 MiB", "20 d", "20 d"],
        "runs": ["2", "0.5 MiB", "40 d", "30 d"],
        "training": ["1", "0.0 MiB", "50 d", "50 d"],
        "all": ["6", "7.0 MiB", "50 d", "0 d"],
    }


@pytest.mark.parametrize("rooms", [["runs"], ["face"], ["packed", "training"], ROOMS])
@pytest.mark.parametrize(("older", "days"), [("", 0), ("15d", 15), ("3w", 21), ("840h", 35), ("365d", 365)])
def test_what_is_named_and_old_enough_goes_whole(root, monkeypatch, capsys, rooms, older, days):
    words = [word for room in rooms for word in ("--clear", room)] + (["--older", older] if older else [])
    assert typed(monkeypatch, *words) == 0
    gone = {e for i, e in enumerate(ENTRIES) if e.split("/")[0] in rooms and 10 * i >= days}
    assert left(root) == set(ENTRIES) - gone
    assert (root / "face" / "aa" / f".lacuna-{'0' * 16}.tmp").exists()
    told = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in told] == [str(root / room) for room in rooms]
    assert sum(int(line.split("removed ")[1].split()[0]) for line in told) == len(gone)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--clear", "runz"), "expected a room of the cache (face, packed, runs, training), got 'runz'"),
        (("--clear", "runs", "--clear", "."), "got '.'"),
        (("--clear", "runs", "--clear", "../cache"), "got '../cache'"),
        (("--clear", "runs", "--older", "30"), "expected a number of hours, days or weeks"),
        (("--clear", "runs", "--older", "-1d"), "expected a number of hours, days or weeks"),
        (("--older", "30d"), "expected beside --clear"),
    ],
)
def test_nothing_goes_where_a_word_is_wrong(root, monkeypatch, capsys, words, told):
    code = typed(monkeypatch, *words)
    assert code and told in f"{capsys.readouterr().err}{code}"
    assert left(root) == set(ENTRIES)


def test_an_empty_cache_is_told(root, monkeypatch, capsys):
    monkeypatch.setenv("LACUNA_CACHE", str(root / "none"))
    assert typed(monkeypatch) == 0
    assert "0.0 MiB" in capsys.readouterr().out
    assert "the cache is empty" in str(typed(monkeypatch, "--clear", "runs"))
