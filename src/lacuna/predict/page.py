"""`lacuna serve`: a page on this machine. In: a checkpoint. Out: drop a video, take parts of it away, watch the answer.

Built with NiceGUI (extra `ui`), whose parts are all served from here: the page works offline. Bound to 127.0.0.1, to
requests that name it and to pages that came from it, so that no other page in the browser can talk to it.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lacuna.data.samples import polarity
from lacuna.figures import overlay
from lacuna.figures.html import colours
from lacuna.figures.overlay import Preview
from lacuna.predict.answers import Answer, Question
from lacuna.predict.features import Given
from lacuna.predict.offered import offered
from lacuna.predict.uploads import Desk, Limits
from lacuna.stages import told
from lacuna.types import Clip, MalformedInput

HOST = "127.0.0.1"
FORM = 100_000  # bytes that a form adds to the file in it
USUAL = Limits()
Message = MutableMapping[str, Any]
# What a screen reader says, where the page's parts do not: its language, and what the file field is for.
SPOKEN = """<script>
document.documentElement.lang = "en";
new MutationObserver(() => {
  for (const e of document.querySelectorAll(".q-uploader__input, .q-uploader .q-btn")) e.ariaLabel = "Choose a video";
}).observe(document, {childList: true, subtree: true});
</script>"""
# The report's colours; cards and the coloured bars of Quasar, which has other ones.
STYLE = """
body { background: var(--soft); color: var(--ink); }
.q-card { background: var(--page); color: var(--ink); border: 1px solid var(--line); }
.q-header, .q-uploader__header { background: var(--banner) !important; }
.q-uploader { background: var(--soft); color: var(--ink); }
"""


def serve(
    checkpoint: Path,
    port: int = 8080,
    limits: Limits = USUAL,
    device: str = "auto",
    asr: str = "",
    use: Mapping[str, str] | None = None,
) -> None:
    """Serve until interrupted. `asr`: a speech recognition model for videos whose words nobody types in; `use`: as of
    `lacuna.load`."""
    try:
        from nicegui import app, ui
    except ImportError as error:
        raise MalformedInput(f"serve: expected the extra ui (pip install 'lacuna[ui]'), got: {error}") from error
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    desk = Desk(checkpoint, limits, device, use)
    tempfile.tempdir = str(desk.folder)  # where NiceGUI keeps an upload until it has come whole
    app.add_middleware(BodyLimit, most=limits.bytes + FORM)
    app.add_middleware(SameOrigin, origins=[f"http://{host}:{port}" for host in (HOST, "localhost")])
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    app.on_shutdown(desk.close)
    examples = offered(checkpoint)

    @ui.page("/")
    def page() -> None:
        View(desk, asr, examples).build()

    print(f"lacuna: http://{HOST}:{port} (ctrl-c ends it)", flush=True)
    try:
        ui.run(host=HOST, port=port, title="Lacuna", dark=None, reload=False, show=False, show_welcome_message=False)
    finally:
        desk.close()


class BodyLimit:
    """Refuses requests whose body is longer than `most` bytes, before it is kept anywhere."""

    def __init__(self, app: Callable[..., Awaitable[None]], most: int) -> None:
        self.app, self.most = app, most

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if not said.isdigit() or int(said) > self.most:
            await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})
            return
        got = 0

        async def counted() -> Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            # A body that does not say its length: to the reader it looks as if the browser had gone away.
            return {"type": "http.disconnect"} if got > self.most else message

        await self.app(scope, counted, send)


class SameOrigin:
    """Refuses requests and sockets of pages that came from elsewhere: browsers say where a page came from."""

    def __init__(self, app: Callable[..., Awaitable[None]], origins: Sequence[str]) -> None:
        self.app, self.origins = app, {origin.encode() for origin in origins}

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        origin = dict(scope.get("headers", ())).get(b"origin")
        if origin is None or origin in self.origins:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 403, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


class View:
    """One browser's page: its upload's features, its sliders, and what the model says."""

    def __init__(self, desk: Desk, asr: str, examples: Sequence[Clip] = ()) -> None:
        from nicegui import run, ui

        self.ui, self.run, self.desk, self.asr, self.examples = ui, run, desk, asr, examples
        self.given: Given | None = None
        self.sliders: dict[str, Any] = {}

    def build(self) -> None:
        """Lay the page out."""
        ui = self.ui
        ui.colors(primary="var(--accent)")
        ui.add_head_html(f"<style>{colours()}{STYLE}</style><script>{overlay.script()}</script>{SPOKEN}")
        with ui.header().classes("items-baseline"):
            ui.label("Lacuna").classes("text-2xl font-bold").props("role=heading aria-level=1")
            card = self.desk.predictor.card
            ui.label(f"{card.model}, trained on {card.dataset}, seed {card.seed}").classes("opacity-80")
        with ui.row().classes("w-full max-w-6xl mx-auto gap-4 items-start"):
            with ui.column().classes("flex-1 min-w-72 gap-4"):
                self._ask()
                self._take_away()
            with ui.column().classes("flex-1 min-w-72 gap-4"):
                self._show()

    def _ask(self) -> None:
        ui, limits = self.ui, self.desk.limits
        with ui.card().classes("w-full"):
            self._heading("1. A video")
            hint = "heard by the speech model if left empty" if self.asr else "missing if left empty"
            self.words = ui.textarea("What is said in it").classes("w-full").props(f'autogrow rows=2 hint="{hint}"')
            self.upload = ui.upload(
                label=f"Drop a video here: at most {limits.megabytes:g} MB and {limits.seconds:g} s",
                auto_upload=True,
                max_file_size=limits.bytes,
                on_upload=self._uploaded,
                on_rejected=lambda: self._say(f"Refused: larger than {limits.megabytes:g} MB."),
            ).classes("w-full")
            if self.examples:
                self._offer()
            with ui.row().classes("items-center"):
                self.busy = ui.spinner(size="sm")
                self.busy.set_visibility(False)
                self.status = ui.label("The file is deleted as soon as it has been read.").classes("text-sm opacity-80")

    def _heading(self, text: str) -> None:
        self.ui.label(text).classes("text-lg font-bold").props("role=heading aria-level=2")

    def _offer(self) -> None:
        """A button for each example."""
        ui = self.ui
        ui.label(f"Or a clip of {self.examples[0].dataset}, from its test split:").classes("text-sm opacity-80")
        with ui.row().classes("gap-2"):
            for clip in self.examples:
                button = ui.button(clip.id, on_click=partial(self._example, clip))
                button.props("outline dense no-caps").classes("px-2 text-sm")

    def _take_away(self) -> None:
        ui = self.ui
        with ui.card().classes("w-full"):
            self._heading("2. Take parts of it away")
            for modality in self.desk.predictor.modalities:
                with ui.row().classes("w-full items-center no-wrap"):
                    ui.label(modality).classes("w-16")
                    slider = ui.slider(min=0, max=100, step=5, value=0)
                    slider.on("update:model-value", self._refresh, throttle=0.3, leading_events=False)
                    slider.classes("flex-1").props(f'aria-label="lost share of {modality}"')
                    ui.label().bind_text_from(slider, "value", lambda v: f"{v:.0f} % lost").classes("w-24 text-right")
                self.sliders[modality] = slider

    def _show(self) -> None:
        ui = self.ui
        with ui.card().classes("w-full"):
            self._heading("3. What the model says")
            self.player = ui.column().classes("w-full max-w-sm")
            self.sentiment = ui.label("Nothing yet.").classes("text-3xl font-bold text-primary")
            self.detail = ui.label("").classes("text-sm opacity-80")
            self.said = ui.label("").classes("text-sm italic")
            self.parts = ui.echart(_bars({}), renderer="svg").classes("w-full h-44")
            self.curve = ui.echart(_curve(None), renderer="svg").classes("w-full h-44")
            for chart in (self.parts, self.curve):  # nothing to show yet
                chart.set_visibility(False)
            self.notes = ui.column().classes("gap-0 text-sm")

    def _say(self, text: str) -> None:
        self.status.set_text(text)

    async def _uploaded(self, event: Any) -> None:  # noqa: ANN401 (NiceGUI's event)
        name, path = event.file.name, self.desk.place(event.file.name)
        self.upload.reset()
        question = self._question(self.words.value.strip())

        async def read() -> Given | None:
            await event.file.save(path)
            return await self.run.io_bound(self.desk.take, path, name, question)

        await self._take(name, read(), f"{name} was read, and deleted.")

    async def _example(self, clip: Clip) -> None:
        read = self.run.io_bound(self.desk.example, clip, self._question(clip.text))
        await self._take(clip.id, read, f"{clip.id} was read.{self._labelled(clip)}")

    def _labelled(self, clip: Clip) -> str:
        if "M" not in clip.labels:
            return ""
        card = self.desk.predictor.card
        label = (polarity(clip) if card.task == "polarity" else clip).label
        names = card.class_names()
        return f" It is labelled {names[int(label)] if names else f'{label:+.2f}'}."

    def _question(self, text: str) -> Question:
        """With these words; without any, they are heard where a recogniser is named, and else missing."""
        return Question(asr=self.asr) if self.asr and not text else Question(text=text)

    async def _take(self, name: str, read: Awaitable[Given | None], done: str) -> None:
        """Wait for a file's features, then show it and the answer."""
        self.busy.set_visibility(True)
        self._say(f"Reading {name} …")
        try:
            self.given = await read
            self._say(done)
        except (MalformedInput, OSError) as error:
            self._say(f"Refused: {told(error)}")
        else:
            if self.given is not None:  # None while the server shuts down
                self._play(self.given.preview)
                await self._refresh()
        finally:
            self.busy.set_visibility(False)

    def _play(self, preview: Preview | None) -> None:
        """The upload beside the answer, with what was measured of its face."""
        self.player.clear()
        if preview is None:
            return
        with self.player:
            shown = self.ui.html(overlay.frame(preview.mp4, preview.still), sanitize=False).classes("w-full")
        drawn = json.dumps(preview.faces or {"frames": []})
        self.ui.run_javascript(
            f"(function go() {{ const e = getHtmlElement({shown.id}); e && e.querySelector('canvas')"
            f" ? lacunaFaces(e, {drawn}) : setTimeout(go, 50); }})()"
        )

    async def _refresh(self) -> None:
        if self.given is None:
            return
        shares = {modality: slider.value / 100 for modality, slider in self.sliders.items()}
        question = Question(
            drop=[m for m, share in shares.items() if share >= 1],
            missing={m: share for m, share in shares.items() if 0 < share < 1},
        )
        try:
            answer = await self.run.io_bound(self.desk.answer, self.given, question)
        except MalformedInput as error:
            self._say(f"No answer: {error}")
        else:
            if answer is not None:  # None while the server shuts down
                self._fill(answer)

    def _fill(self, answer: Answer) -> None:
        self.sentiment.set_text(answer.sentiment)
        told = f"probability {answer.score:.2f}" if answer.probabilities else f"score {answer.score:+.2f}"
        self.detail.set_text(told + ("" if answer.uncertainty is None else f", uncertainty {answer.uncertainty:.2f}"))
        said = "Heard, not given " + answer.heard.sure if answer.heard is not None else "Given"
        self.said.set_text(f"{said.rstrip()}: “{answer.text}”" if answer.text else "")
        for chart, options in ((self.parts, _bars(answer.contributions)), (self.curve, _curve(answer))):
            chart.options.clear()
            chart.options.update(options)
            chart.set_visibility(True)
            chart.update()
        self.notes.clear()
        with self.notes:
            for note in answer.notes:
                self.ui.label(note)


def _bars(contributions: dict[str, float]) -> dict[str, Any]:
    """What each modality adds to the score, as a bar chart."""
    names = list(contributions)[::-1]
    values = [round(contributions[name], 4) for name in names]
    across, along = {"type": "value"}, {"type": "category", "data": names}
    return _chart("What each part adds to the score", across, along, "bar", values)


def _curve(answer: Answer | None) -> dict[str, Any]:
    """The score by second."""
    moments = [] if answer is None else answer.curve
    points = [[round((m.start + m.end) / 2, 2), round(m.score, 4)] for m in moments]
    across = {"type": "value", "axisLabel": {"formatter": "{value} s", "hideOverlap": True}}
    return _chart("Second by second", across, {"type": "value", "scale": True}, "line", points)


def _chart(title: str, across: dict[str, Any], along: dict[str, Any], kind: str, data: list[Any]) -> dict[str, Any]:
    """ECharts' options of one series, drawn as SVG in the colours of the page."""
    told = {"color": "var(--ink)"}
    for axis in (across, along):
        axis["axisLabel"] = axis.get("axisLabel", {}) | told
        axis["axisLine"] = {"lineStyle": {"color": "var(--muted)"}}
        axis["splitLine"] = {"show": axis["type"] == "value", "lineStyle": {"color": "var(--line)"}}
    drawn = {"type": kind, "data": data, "itemStyle": {"color": "var(--accent)"}, "emphasis": {"disabled": True}}
    return {
        "title": {"text": title, "textStyle": told | {"fontSize": 13}},
        "grid": {"left": 70, "right": 30, "top": 36, "bottom": 24},
        "xAxis": across,
        "yAxis": along,
        "series": [drawn | {"lineStyle": {"color": "var(--accent)"}}],
        "animation": False,
    }
