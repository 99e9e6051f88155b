"""The face drawn over its video: what is handed to the page, and what a browser makes of it."""

from __future__ import annotations

import moving_faces as faces
import numpy as np
import pytest
from browser import CHROMIUM, Browser, wait

from lacuna.extractors import face
from lacuna.figures import overlay
from lacuna.figures.player import encoded, still
from lacuna.types import Clip, FeatureSequence

COLUMNS = (*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68)))
GAZE = ("gaze_0_x", "gaze_0_y", "gaze_1_x", "gaze_1_y")


def sequence(count=3, columns=COLUMNS, unseen=()):
    values = np.tile(np.arange(len(columns), dtype=np.float32), (count, 1))
    seen = ~np.isin(np.arange(count), unseen)
    return FeatureSequence(values, np.arange(count) / 25, seen, columns)


def test_points_are_thousandths_of_the_picture():
    found = overlay.measured(sequence(columns=(*COLUMNS, *GAZE, "AU12_r")), (200, 400), 0.5)
    assert [frame["t"] for frame in found["frames"]] == [0, 0.04, 0.08]
    first = found["frames"][0]
    assert first["p"][:4] == [0, 170, 5, 172]  # x_0 = 0 of 200, y_0 = 68 of 400, x_1 = 1, y_1 = 69
    assert first["g"] == [136000, 137000, 138000, 139000]
    assert first["u"] == [140] and found["units"] == ["smile"]
    assert found["still"] == 0.5


def test_frames_without_a_face_have_nothing_to_draw():
    found = overlay.measured(sequence(unseen=(1,)), (100, 100), 0)
    assert [sorted(frame) for frame in found["frames"]] == [["p", "t"], ["t"], ["p", "t"]]


@pytest.mark.parametrize("columns", [(), ("AU12_r", "pose_Rx")])
def test_without_landmarks_nothing_is_drawn(columns):
    assert overlay.measured(sequence(columns=columns), (100, 100), 0) is None
    assert overlay.measured(None, (100, 100), 0) is None
    page = overlay.player(b"mp4", b"jpeg", "a < b", None)
    assert "<script>" not in page and "canvas" not in page and "a &lt; b" in page


def test_a_long_clip_is_drawn_at_fewer_moments():
    found = overlay.measured(sequence(overlay.MOST * 2 + 1), (100, 100), 0)
    assert len(found["frames"]) <= overlay.MOST
    assert found["frames"][1]["t"] == pytest.approx(0.12)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The smiling astronaut as a page of her own."""
    folder = tmp_path_factory.mktemp("overlay")
    picture = np.ascontiguousarray(faces.portrait()[0:256, 64:384])
    clip = Clip("v", "d", "test", path=faces.written(folder / "a.mp4", [picture] * 12))
    found = overlay.measured(face.Extractor(face.Settings())(clip), (320, 256), 0.0)
    html = overlay.player(encoded(clip, None), still(picture), "She smiles.", found)
    path = folder / "page.html"
    path.write_text(f"<!DOCTYPE html><html><body style='width:320px'>{html}</body></html>", encoding="utf-8")
    return path, found


def alpha(browser, x, y):
    """How opaque the canvas is around a place given in thousandths."""
    return browser.run(
        "{ const c = document.querySelector('canvas'), k = c.getContext('2d');"
        f" Math.max(...k.getImageData({x} * c.width / 1000 - 2, {y} * c.height / 1000 - 2, 5, 5).data"
        ".filter((_, i) => i % 4 == 3)) }"
    )


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_a_browser_draws_it_before_and_while_it_plays(page, tmp_path):
    path, found = page
    x, y = found["frames"][0]["p"][60:62]  # the tip of the nose
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"file://{path}")
        wait(lambda: browser.run("document.querySelector('video')?.readyState > 0"), 60)
        wait(lambda: alpha(browser, x, y) > 100, 20)  # on the still
        assert max(alpha(browser, place, 60) for place in (60, 940)) > 100  # the bars
        assert alpha(browser, 950, 950) == 0
        browser.run("document.querySelector('input').click(); 0")
        assert alpha(browser, x, y) == 0
        browser.run("document.querySelector('input').click(); document.querySelector('video').muted = true")
        browser.run("document.querySelector('video').play(); 0")
        wait(lambda: browser.run("document.querySelector('video').currentTime > 0.1"), 60)
        assert alpha(browser, x, y) > 100
        browser.shoot(tmp_path / "shot.png")
        assert not browser.complaints
