"""Pieces of the page. In: words, tables and pictures. Out: HTML that loads nothing from anywhere.

A section's HTML stands on its own inside the page: pictures are data URIs, so their ids cannot meet.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

from PIL import Image

from lacuna.figures.drawing import Picture

Cell = str | int | float | None
UNDEFINED = "–"
FRAGMENT = "section.html"  # what stage figures leaves of each data set for the page


@dataclass(frozen=True)
class Section:
    """One section of the page: the anchor and heading it has, its body, and the pictures in it (as files too)."""

    id: str
    title: str
    body: str
    pictures: tuple[Picture, ...] = field(default=())

    def html(self) -> str:
        anchor = "-".join(self.id.split())  # names of data sets may hold spaces, anchors may not
        return f'<section id="{escape(anchor)}">\n<h3>{escape(self.title)}</h3>\n{self.body}\n</section>\n'


def colours() -> str:
    """The style sheet that names the colours of all pages, light and dark."""
    return files("lacuna.figures").joinpath("colours.css").read_text(encoding="utf-8")


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain words."""
    return f"<p{_class(kind)}>{escape(text)}</p>\n"


def note(text: str) -> str:
    """A boxed remark that a reader must not miss."""
    return f'<p class="note">{escape(text)}</p>\n'


def heading(text: str) -> str:
    return f"<h4>{escape(text)}</h4>\n"


def figure(picture: Picture) -> str:
    """The picture with its title and caption."""
    uri = _raster(picture.png) if picture.raster else data_uri("image/svg+xml", picture.svg)
    image = f'<img alt="{escape(f"{picture.title}. {picture.caption}")}" src="{uri}">'
    caption = f"<b>{escape(picture.title)}.</b> {escape(picture.caption)}"
    kinds = "wide" if picture.wide else ""
    return f'<figure{_class(kinds)}><div class="scroll">{image}</div><figcaption>{caption}</figcaption></figure>\n'


def data_uri(kind: str, content: bytes) -> str:
    """A file inside the page, of a media type such as image/png."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _raster(png: bytes) -> str:
    """A picture as PNG, or as JPEG where that is smaller: photographs."""
    buffer = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").save(buffer, "JPEG", quality=88)
    jpeg = buffer.getvalue()
    return data_uri("image/jpeg", jpeg) if len(jpeg) < len(png) else data_uri("image/png", png)


def grid(pictures: Iterable[Picture], kind: str = "") -> str:
    """Pictures side by side where there is room, one under another on a phone."""
    inside = "".join(figure(p) for p in pictures)
    return f'<div class="{f"grid {kind}".strip()}">{inside}</div>\n' if inside else ""


def table(head: Sequence[str], rows: Iterable[Sequence[Cell]], left: int = 1, classes: Sequence[str] = ()) -> str:
    """A table whose first `left` columns are words and the others numbers; `classes` marks rows."""
    heads = "".join(f'<th scope="col"{_class("" if i < left else "n")}>{escape(h)}</th>' for i, h in enumerate(head))
    body = []
    for i, row in enumerate(rows):
        cells = "".join(
            f"<td{_class('' if k < left else 'n')}>{escape(shown(cell))}</td>" for k, cell in enumerate(row)
        )
        body.append(f"<tr{_class(classes[i] if i < len(classes) else '')}>{cells}</tr>")
    return f'<div class="scroll"><table><thead><tr>{heads}</tr></thead>\n<tbody>{"".join(body)}</tbody></table></div>\n'


def details(summary: str, inside: str) -> str:
    """Something that is folded away until it is asked for."""
    return f"<details><summary>{escape(summary)}</summary>\n{inside}</details>\n"


def tiles(pairs: Iterable[tuple[str, str]]) -> str:
    """A row of large values with small names."""
    inside = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in pairs)
    return f'<div class="tiles">{inside}</div>\n'


def code(text: str) -> str:
    return f"<pre>{escape(text)}</pre>\n"


def shown(value: Cell) -> str:
    """A table's cell as words: three decimals, and a dash where there is no number."""
    if value is None:
        return UNDEFINED
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
