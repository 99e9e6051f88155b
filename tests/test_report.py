"""The report: one page that loads nothing, shows every section, and is the same each time it is made."""

import hashlib
import re
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from browser import Browser, wait
from report_tree import DATASET, build, plan_of

from lacuna.data.samples import read_clips
from lacuna.evaluate.names import main_metrics
from lacuna.evaluate.scores import read_scores
from lacuna.figures.clip_data import choose, shots
from lacuna.figures.faces import Shot
from lacuna.figures.run import Wanted, illustrate, is_synthetic, read_records, read_rejects
from lacuna.figures.sections import corpus, overview, published
from lacuna.figures.sections.clip import Scene
from lacuna.figures.sections.clip import section as clip_section
from lacuna.figures.sections.inside import Asked
from lacuna.figures.sections.inside import section as inside_section
from lacuna.report.run import Made, publish
from lacuna.types import Clip, MalformedInput

SECTIONS = ("overview", "data", "clip", "training", "robustness", "differences", "calibration", "inside")
VOID = {"meta", "link", "img", "input", "br", "hr"}
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


class Page(HTMLParser):
    """Anchors, loaded addresses and whether every tag is closed."""

    def __init__(self, html):
        super().__init__()
        self.ids, self.loads, self.links, self.open, self.images = [], [], [], [], 0
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.images += tag == "img"
        assert tag != "img" or attrs["alt"]
        if "id" in attrs:
            self.ids.append(attrs["id"])
        self.links += [attrs["href"]] if tag == "a" else []
        self.loads += [attrs[k] for k in ("src", "href") if k in attrs and tag != "a"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LACUNA_CACHE", str(root / "cache"))
        yield root, build(root)


def wanted(params):
    models = {model: plan_of(params, model).inputs for model in params.models}
    features, shown = params.train.of(DATASET).features, params.figures.of(DATASET)
    return Wanted(features, models, params.seeds, shown.clip, shown.frames, shown.asked, "cpu")


@pytest.fixture(scope="module")
def made(project):
    root, params = project
    illustrate(wanted(params), root / "raw" / DATASET, root / "processed" / DATASET, root / "figures" / DATASET)
    made = Made((root / "params.yaml").read_text(encoding="utf-8"), ())
    return publish(params.report.title, params.datasets, root / "figures", root / "report", made)


def test_the_page_is_whole_and_loads_nothing(made):
    page = Page(made.read_text(encoding="utf-8"))
    assert not page.open
    assert all(address.startswith("data:") for address in page.loads) and page.images > 20
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert "@import" not in made.read_text() and "url(" not in made.read_text()


def test_the_page_has_every_section(made):
    page = Page(made.read_text(encoding="utf-8"))
    assert {f"{DATASET}-{name}" for name in SECTIONS} | {"words", "reproduction"} <= set(page.ids)
    assert "published" not in page.ids


def test_the_page_says_what_was_refused_and_that_data_are_synthetic(made):
    html = made.read_text(encoding="utf-8")
    assert "Synthetic data." in html and "expected a video, found &lt;none&gt;" in html
    assert "no face in any frame" in html and "&amp; &lt;more&gt;" in html


def test_figures_lie_beside_the_page_as_svg_and_png(made):
    drawn = sorted((made.parent / "figures" / DATASET).iterdir())
    svg, png = ({p.stem for p in drawn if p.suffix == kind} for kind in (".svg", ".png"))
    assert svg == png and {"labels", "sound", "robustness-frames-mae", "training-lnln-loss", "frame-0"} <= svg
    for path in drawn:
        if path.suffix == ".svg":
            assert ET.parse(path).getroot().tag.endswith("svg")


def test_equal_input_gives_equal_bytes(project, made):
    root, params = project
    illustrate(wanted(params), root / "raw" / DATASET, root / "processed" / DATASET, root / "again" / DATASET)
    assert digests(root / "again") == digests(root / "figures")


def test_subspaces_stand_before_and_after_regularisation(made):
    html = made.read_text(encoding="utf-8")
    titles = [
        html.index(f"{name}: {word} regularisation.</b>")
        for name, word in (("misa_plain", "before"), ("misa", "after"))
    ]
    assert titles == sorted(titles) and "similarity 0, difference 0" in html and "similarity 0.3" in html


def digests(folder):
    return {p.relative_to(folder): hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*.*")}


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_draws_it_without_complaint_and_without_scrolling_sideways(made, tmp_path, width):
    broken = "[...document.images].filter(i => !i.complete || !i.naturalWidth).length"
    with Browser(tmp_path / "profile") as browser:
        browser.resize(width)  # a window of its own is never narrower than 500 px
        browser.open(f"file://{made}")
        wait(lambda: browser.run("document.readyState === 'complete' && document.images.length > 20"), 120)
        seen = browser.run(f"[innerWidth, document.documentElement.scrollWidth <= innerWidth, {broken}]")
        assert seen == [width, True, 0] and browser.complaints == []


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_the_clip_plays(made, tmp_path):
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"file://{made}")
        wait(lambda: browser.run("document.querySelector('video')?.readyState > 0"), 60)
        browser.run("{ const v = document.querySelector('video'); v.muted = true; v.play(); 0 }")
        wait(lambda: browser.run("document.querySelector('video').currentTime > 0.1"), 60)
        assert browser.run("document.querySelector('video').videoWidth") == 96
        assert not browser.complaints and not [a for a in browser.requests if not a.startswith(("file:", "data:"))]


def test_stages_name_what_is_missing(project, tmp_path):
    _, params = project
    with pytest.raises(MalformedInput, match=r"section.html: expected the figures of tiny"):
        publish(params.report.title, params.datasets, tmp_path, tmp_path / "report", Made("", ()))
    with pytest.raises(MalformedInput, match=r"rejects.csv"):
        read_rejects(tmp_path)


def test_the_clip_shown_can_be_named(project):
    root, _ = project
    clips = read_clips(root / "processed" / DATASET / "clips.jsonl")
    assert choose(clips, [], "v$_$2").id == "v$_$2"
    assert choose(clips, [], "").split == "test"
    with pytest.raises(MalformedInput, match=r"figures.clip: .*got 'v'"):
        choose(clips, [], "v")


def test_frames_come_from_the_middles_of_equal_stretches(project):
    root, _ = project
    clip = read_clips(root / "processed" / DATASET / "clips.jsonl")[0]
    assert [round(shot.time, 2) for shot in shots(clip, None, 3)] == [0.08, 0.24, 0.4]
    assert shots(replace(clip, path=None), None, 3) == []


def test_synthetic_is_what_says_so(tmp_path):
    for name, text, expected in [("demo", "", True), ("a", "Synthetic data", True), ("b", "real", False)]:
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.txt").write_text(text)
        assert is_synthetic(tmp_path / name) is expected
    assert not is_synthetic(tmp_path / "none")


def test_published_numbers_stand_beside_ours_only_where_they_belong(project):
    root, _ = project
    record = read_scores(root / "processed" / DATASET / "scores" / "lnln.json")
    assert published.section(DATASET, [record]) is None
    body = published.section("mosi", [record]).body
    assert "test-selected" in body and "1.046" in body and "ours: lnln" in body


def test_optional_outputs_are_drawn_where_they_are_there():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 30).astype(float)
    outputs = {
        "prediction": rng.dirichlet(np.ones(3), 30),
        "uncertainty": rng.uniform(size=30),
        "edges_homo": rng.dirichlet(np.ones(6), 30),
    }
    pairs = [(a, b) for a in ("text", "audio", "vision") for b in ("text", "audio", "vision") if a != b]
    by_rate = {rate: {"uncertainty": rng.uniform(size=30)} for rate in (0.0, 0.5)}
    asked = Asked("rcml", labels, 3, outputs, by_rate, {}, pairs)
    names = {picture.name for picture in inside_section("d", [asked]).pictures}
    assert names == {"confusion-rcml", "edges-homo-rcml", "uncertainty-rate-rcml"}
    assert inside_section("d", []) is None


def test_classes_have_their_names_wherever_they_are_shown():
    names = ("calm", "cross")
    clips = [Clip(f"v$_${i}", "d", "test", "a word", {"M": float(i % 2)}) for i in range(4)]
    labels = corpus._labels(clips, names)
    scene = Scene(clips[1], [Shot(0.5, np.zeros((4, 4, 3), np.uint8), None, False)], None, 1, {}, (), (), classes=names)
    asked = Asked("m", np.array([0.0, 1.0]), 2, {"prediction": np.eye(2)}, {}, {}, names=names)
    confused = inside_section("d", [asked]).pictures[0]
    for picture in (labels, confused):
        words = re.sub(r"<!--|-->", "", picture.svg.decode())
        assert all(name in words for name in names), picture.name
    body = clip_section("d", scene).body
    assert "cross" in body and "+1.00" not in body
    assert "No face was found" not in body and "68 landmarks" not in body  # none was looked for


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ([0.0], "mean absolute error 1.000 when nothing is lost (pattern"),
        ([0.0, 0.5], "1.000 when nothing is lost, 1.500 at 50 % loss (pattern"),
        ([0.0, 0.5, 0.9], "1.000 when nothing is lost, 1.500 at 50 % loss, 1.900 at 90 % loss (pattern"),
    ],
)
def test_a_fall_is_told_once_a_rate(project, rates, told):
    root, params = project
    record = read_records(root / "processed" / DATASET, params.models)[0]
    key = main_metrics(record.task, record.scale)[0]
    levels = {str(rate): {key: {"mean": 1 + rate, "std": 0.0}} for rate in rates}
    body = overview.section("d", [], [replace(record, patterns={"frames": levels})], False).body
    assert told in body and body.count("lost") == 2
