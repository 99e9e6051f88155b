"""A hook of mkdocs. In: a page. Out: it, with links to files that are no pages of the site as plain words."""

from __future__ import annotations

import re

_OUTSIDE = re.compile(r"\[([^\]]*)\]\(\.\./[^)]*\)")


def on_page_markdown(markdown: str, **_: object) -> str:
    """The page's text."""
    return _OUTSIDE.sub(r"\1", markdown)
