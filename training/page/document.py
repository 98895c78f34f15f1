"""The page around a report's sections: style, scripts, contents, and a policy that forbids it every request.

Everything is inside: plotly.js, pictures, style. Opening a report tells nobody.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.errors import TrainingError

from .markup import Html, join, paragraph, tag


@dataclass(frozen=True)
class Section:
    """One part of the page, reachable as `#anchor`."""

    anchor: str
    title: str
    body: Html


def plotly_js() -> str:
    """The source of plotly.js, as plotly ships it; TrainingError if that is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        message = "plotly, which draws the report, is not installed; run: pip install 'whippet[train]'"
        raise TrainingError(message) from None
    source: str = get_plotlyjs()
    return source


def page(title: str, sections: Sequence[Section], library: str) -> str:
    """The whole document around the sections; `library` is JavaScript that runs before the page's own."""
    contents = tag("ul", *(tag("li", tag("a", s.title, href=f"#{s.anchor}")) for s in sections))
    parts = (tag("section", tag("h2", s.title), s.body, id=s.anchor) for s in sections)
    body = join([tag("header", tag("h1", title), tag("nav", contents, aria_label="Contents")), tag("main", *parts)])
    # Only scripts with this word run. Nobody who can name a class or a file can foresee it.
    nonce = hashlib.sha256(body.encode("utf-8", "backslashreplace")).hexdigest()[:32]
    scripts = (tag("script", Html(source), nonce=nonce) for source in (library, _asset("page.js")))
    head = join(
        [
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_policy(nonce)),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("meta", name="color-scheme", content="light dark"),
            tag("title", title),
            tag("style", Html(_asset("page.css"))),
        ]
    )
    hint = tag("noscript", paragraph("The charts and sorting need JavaScript; all tables are readable without."))
    document = tag("html", tag("head", head), tag("body", hint, body, *scripts), lang="en")
    return f"<!doctype html>\n{document}\n"


def _policy(nonce: str) -> str:
    """Nothing is loaded from anywhere. Plotly styles by attribute, compiles code and exports pictures as blobs."""
    scripts = f"script-src 'nonce-{nonce}' 'unsafe-eval'"
    return f"default-src 'none'; {scripts}; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'"


def _asset(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
