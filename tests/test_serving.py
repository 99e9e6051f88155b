"""`lacuna serve`: uploads are limited and deleted, a bad file harms nothing, and the page works in a real browser."""

import asyncio
import http.client
import importlib
import os
import shutil
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path

import pytest
from browser import CHROMIUM, Browser, wait
from media_files import Video, write_video
from small_checkpoint import write_checkpoint
from typer.testing import CliRunner

from lacuna.cli import app
from lacuna.data.samples import write_clips
from lacuna.media import decode
from lacuna.predict.answers import Question
from lacuna.predict.offered import MOST, offered
from lacuna.predict.page import SameOrigin
from lacuna.predict.uploads import WAITING, Desk, Limits, _check_length
from lacuna.storage.scratch import Scratch
from lacuna.types import Clip, MalformedInput

SCRIPT = """
import sys
from pathlib import Path
from lacuna.predict.uploads import Limits
from lacuna.predict.page import serve
if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]), Limits(megabytes=1, seconds=5), "cpu")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("serving")


@pytest.fixture(scope="module")
def checkpoint(folder):
    return write_checkpoint(folder / "lnln")


@pytest.fixture(scope="module")
def clip(folder):
    return write_video(folder / "clip.mp4", Video(frames=50))


@pytest.fixture(scope="module")
def desk(checkpoint):
    desk = Desk(checkpoint, Limits(megabytes=1, seconds=5, patience=600), "cpu")  # other work may hold the machine
    yield desk
    desk.close()
    assert not desk.folder.exists()


def upload(desk, source):
    path = desk.place(source.name)
    shutil.copy(source, path)
    return path


def left_over(desk):
    return [p for p in desk.folder.rglob("*") if p.is_file()]


def test_an_upload_is_answered_for_and_deleted(desk, clip):
    given = desk.take(upload(desk, clip), "my clip.mp4", Question(text="good"))
    whole = desk.answer(given, Question())
    without = desk.answer(given, Question(drop=["audio"]))
    assert whole.file == "my clip.mp4" and whole.contributions["audio"] == pytest.approx(whole.score - without.score)
    assert left_over(desk) == []


def test_bad_files_are_refused_by_their_own_name_and_harm_nothing(desk, clip, folder):
    (folder / "bad.mp4").write_bytes(b"this is no video" * 100)
    with pytest.raises(MalformedInput, match=r"^bad.mp4: expected a readable media file") as caught:
        desk.take(upload(desk, folder / "bad.mp4"), "bad.mp4", Question())
    assert str(desk.folder) not in str(caught.value)
    assert desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    assert left_over(desk) == []


def test_uploads_are_limited_in_size_and_length(desk, folder):
    long = write_video(folder / "long.mp4", Video(frames=60, rate=10))
    with pytest.raises(MalformedInput, match=r"^long.mp4: expected at most 5 s, got 6"):
        desk.take(upload(desk, long), "long.mp4", Question(text="good"))
    (folder / "large.mp4").write_bytes(bytes(1_100_000))
    with pytest.raises(MalformedInput, match=r"^large.mp4: expected at most 1 MB, got 1.1 MB"):
        desk.take(upload(desk, folder / "large.mp4"), "large.mp4", Question())
    assert left_over(desk) == []


def test_a_file_that_kills_the_reader_harms_nothing(desk, clip, monkeypatch):
    line = desk._reader._started()
    real = line.poll
    monkeypatch.setattr(
        type(line), "poll", lambda self, t: (desk._reader._process.kill(), real(t))[1] if self is line else True
    )
    with pytest.raises(MalformedInput, match="reading it killed the reader"):
        desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    monkeypatch.undo()
    assert desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    assert left_over(desk) == []


def test_an_upload_can_be_played_beside_the_answer(desk, clip):
    given = desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    assert given.preview is not None
    assert b"ftyp" in given.preview.mp4[:16] and given.preview.still.startswith(b"\xff\xd8")


def test_an_example_is_answered_for_and_stays(desk, clip):
    given = desk.example(Clip("v$_$1", "mine", "test", "good", {}, clip, 0.5, 1.5), Question(text="good"))
    assert given.seconds == pytest.approx(1) and given.preview is not None and clip.is_file()
    assert desk.answer(given, Question()).text == "good"
    assert left_over(desk) == []


def project(root, clip, labels, split="test"):
    """processed/mine of these labels; the folder where its model would be."""
    own = root / "raw" / "mine" / "a.mp4"
    own.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(clip, own)
    clips = [Clip(f"v$_${i}", "mine", split, "good", {"M": label}, own) for i, label in enumerate(labels)]
    write_clips(root / "processed" / "mine" / "clips.jsonl", clips)
    return root / "processed" / "mine" / "models" / "lnln" / "1"


@pytest.mark.parametrize(
    ("labels", "split", "shown"),
    [
        ([3, -3, 0, 1, -1, 2, -2], "test", [-3, -1, 0, 1, 3]),
        ([1, -1], "test", [-1, 1]),
        ([0.5], "test", [0.5]),
        ([], "test", []),
        ([1, -1], "train", []),
    ],
)
def test_examples_go_from_the_lowest_label_to_the_highest(tmp_path, clip, labels, split, shown):
    model = project(tmp_path, clip, labels, split)
    found = [c.label for c in offered(model, tmp_path / "raw")]
    assert found == shown and len(found) <= MOST


def test_a_checkpoint_offers_no_file_from_outside_of_its_data_set(tmp_path, clip):
    model = project(tmp_path, clip, [1.0])
    assert offered(model, tmp_path / "elsewhere") == []
    (tmp_path / "raw" / "mine" / "a.mp4").unlink()
    (tmp_path / "raw" / "mine" / "a.mp4").symlink_to(clip)
    assert offered(model, tmp_path / "raw") == []
    assert offered(tmp_path / "downloaded" / "model", tmp_path / "raw") == []
    assert offered(Path("/model"), tmp_path / "raw") == []


def test_reading_is_given_up_in_time(checkpoint, clip):
    desk = Desk(checkpoint, Limits(patience=0.05), "cpu")
    with pytest.raises(
        MalformedInput, match=r"clip.mp4: expected to be read within 0.05 s, .*`lacuna serve --max-seconds` sets"
    ):
        desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    desk.close()


@pytest.mark.parametrize(("words", "patience"), [((), 90.0), (("--max-seconds", "7.5"), 7.5)])
def test_how_long_a_file_may_take_is_an_option(checkpoint, monkeypatch, words, patience):
    page, given = importlib.import_module("lacuna.predict.page"), []
    monkeypatch.setattr(page, "serve", lambda *values: given.append(values))
    done = CliRunner().invoke(app, ["serve", "--checkpoint", str(checkpoint), *words])
    assert done.exit_code == 0 and given[0][:5] == (checkpoint, 8080, Limits(patience=patience), "auto", "")


def test_an_uploads_name_is_not_trusted(desk):
    assert desk.place("../../etc/x.mp4").parent == desk.folder
    assert desk.place("a.m/../p4").suffix == "" and desk.place("A.MP4").suffix == ".mp4"


def test_a_header_that_understates_the_length_does_not_pass(desk, folder, monkeypatch):
    long = write_video(folder / "lying.mp4", Video(frames=90, rate=10))
    told = decode.probe(long)
    monkeypatch.setattr(decode, "probe", lambda path: replace(told, duration=0.0))
    with pytest.raises(MalformedInput, match=r"expected at most 5 s, got [6-9]"):
        _check_length(long, 5.0)
    _check_length(long, 9.5)


def test_an_error_of_the_model_is_told(desk, clip, monkeypatch):
    given = desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))

    def broken(*_):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(desk.predictor, "answer", broken)
    with pytest.raises(MalformedInput, match="the model failed: RuntimeError: mat1"):
        desk.answer(given, Question())


def test_no_more_than_a_few_files_wait(desk, clip):
    held = [desk._places.acquire(blocking=False) for _ in range(1 + WAITING)]
    try:
        assert all(held)
        with pytest.raises(MalformedInput, match=r"clip.mp4: expected at most 3 files to wait"):
            desk.take(upload(desk, clip), "clip.mp4", Question(text="good"))
    finally:
        for _ in held:
            desk._places.release()
    assert left_over(desk) == []


def test_what_a_killed_server_left_is_swept_and_what_others_hold_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code = "import os; from lacuna.storage.scratch import Scratch\n"
    code += "(Scratch('lacuna-serve').path / 'upload.mp4').touch(); os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"TMPDIR": str(tmp_path)}, check=False)
    assert len(list(tmp_path.glob("lacuna-serve-*/upload.mp4"))) == 1
    first = Scratch("lacuna-serve")
    assert [p.name for p in tmp_path.iterdir()] == [first.path.name]
    second = Scratch("lacuna-serve")
    assert first.path.is_dir() and second.path.is_dir()
    first.close()
    second.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        (None, True),
        (b"http://127.0.0.1:8080", True),
        (b"http://localhost:8080", True),
        (b"http://127.0.0.1:8081", False),
        (b"https://127.0.0.1:8080", False),
        (b"http://evil.example", False),
        (b"http://127.0.0.1:8080.evil.example", False),
        (b"null", False),
        (b"", False),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_pages_from_elsewhere_are_refused_by_requests_and_sockets(kind, origin, passes):
    asked, sent = [], []

    async def app(scope, receive, send):
        asked.append(scope["type"])

    async def receive():
        return {"type": f"{kind}.connect"}

    async def send(message):
        sent.append(message)

    scope = {"type": kind, "headers": [] if origin is None else [(b"origin", origin)]}
    guard = SameOrigin(app, ["http://127.0.0.1:8080", "http://localhost:8080"])
    asyncio.run(guard(scope, receive, send))
    assert asked == ([kind] if passes else [])
    refusal = sent[0] if sent else {}
    assert passes or refusal.get("status") == 403 or refusal.get("type") == "websocket.close"


def test_impossible_limits_are_refused():
    with pytest.raises(MalformedInput, match="expected numbers above 0"):
        Limits(seconds=0)


@pytest.fixture(scope="module")
def server(folder, checkpoint):
    pytest.importorskip("nicegui")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "run.py").write_text(SCRIPT)
    (folder / "tmp").mkdir()
    words = [sys.executable, str(folder / "run.py"), str(checkpoint), str(port)]
    environment = os.environ | {"TMPDIR": str(folder / "tmp")}
    environment.pop("PYTEST_CURRENT_TEST", None)  # by it NiceGUI knows its own tests
    process = subprocess.Popen(words, env=environment)
    try:
        wait(lambda: urllib.request.urlopen(f"http://127.0.0.1:{port}").status == 200, 120, OSError)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def test_requests_in_other_names_and_large_ones_are_refused(server):
    foreign = urllib.request.Request(f"http://127.0.0.1:{server}", headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(foreign)
    line = http.client.HTTPConnection("127.0.0.1", server, timeout=30)
    line.putrequest("POST", "/")
    line.putheader("Content-Length", "1200000")  # refused by what it says, before a byte of it is sent
    line.endheaders()
    assert line.getresponse().status == 413


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.slow  # a browser's keyboard and sliders: seconds on an idle machine, not to be relied on in a crowded one
def test_a_video_is_dropped_and_parts_of_it_are_taken_away(server, folder, clip):
    (folder / "bad.mp4").write_bytes(b"this is no video")
    with Browser(folder / "profile") as browser:
        browser.open(f"http://127.0.0.1:{server}")
        browser.until("Nothing yet.")
        browser.run("document.querySelector('textarea').focus()")
        browser.send("Input.insertText", text="what a good day")
        browser.choose_file(folder / "bad.mp4")
        browser.until("Refused: bad.mp4: expected a readable media file")
        browser.choose_file(clip)
        before = browser.until("clip.mp4 was read, and deleted.")
        assert "score" in browser.until("score") and "text: none was given" not in before
        score = next(line for line in browser.text().splitlines() if line.startswith("score"))
        wait(lambda: browser.run("document.querySelector('video')?.readyState > 0"), 60)
        browser.press_right(
            '[aria-label="lost share of audio"] [tabindex]', 40
        )  # of 20 steps: on a crowded machine some come too fast
        browser.until("audio: left out, as asked")
        assert score not in browser.text()
        card = "getComputedStyle(document.querySelector('.q-card')).backgroundColor"
        for scheme, shade in (("light", "rgb(255, 255, 255)"), ("dark", "rgb(18, 24, 30)")):
            browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
            wait(lambda wanted=shade: browser.run(card) == wanted, 20, told=lambda: browser.run(card))
            if shots := os.environ.get("LACUNA_SHOTS"):
                browser.shoot(Path(shots) / f"serve-{scheme}.png")
        assert browser.complaints == []
        assert all(url.startswith((f"http://127.0.0.1:{server}", "data:", "blob:")) for url in browser.requests)
    assert [p for p in (folder / "tmp").rglob("*") if p.is_file()] == []
