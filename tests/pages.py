"""Our HTML pages as a browser would read them."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

VOID = {"meta", "img"}


class Page(HTMLParser):
    """A report as a browser would read it: elements, attributes, text and the figures in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.text: list[str] = []
        self.scripts: list[tuple[dict[str, str], str]] = []
        self.open: list[str] = []
        self.html = path.read_text(encoding="utf-8")
        self.feed(self.html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Remember the element; those with content must be closed."""
        attributes = {name: value or "" for name, value in attrs}
        self.elements.append((tag, attributes))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((attributes, ""))

    def handle_endtag(self, tag: str) -> None:
        """Elements close in the order they were opened."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Scripts and style are not text."""
        if self.open and self.open[-1] == "script":
            self.scripts[-1] = (self.scripts[-1][0], self.scripts[-1][1] + data)
        elif self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        """Attributes of all elements of that name."""
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def figures(self) -> list[dict[str, Any]]:
        """What plotly is to draw."""
        return [json.loads(code) for attributes, code in self.scripts if attributes.get("type") == "application/json"]


def assert_alone(page: Page) -> None:
    """No element and no style points outside the file, a policy forbids it, and only our two scripts run."""
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form", "img")
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(name, "#").startswith("#")
    style = re.findall(r"<style>(.*?)</style>", page.html, re.DOTALL)
    assert len(style) == 1 and "url(" not in style[0] and "@import" not in style[0]
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert policy.startswith("default-src 'none'; ") and "http" not in policy
    running = [attributes for attributes, _ in page.scripts if attributes.get("type") != "application/json"]
    assert len(running) == 2 and all(f"'nonce-{attributes['nonce']}'" in policy for attributes in running)


def assert_heard(page: Page) -> None:
    """Every plot says in words what it shows, every heading of a table what it is for, every section has a link."""
    plots = [attributes for attributes in page.all("div") if attributes.get("class") == "plot"]
    assert len(plots) == len(page.figures) and all(len(plot["aria-label"]) > 20 for plot in plots)
    assert all(head["scope"] in ("row", "col") for head in page.all("th"))
    anchors = [attributes["id"] for attributes in page.all("section")]
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{anchor}" for anchor in anchors]


def assert_known_to_plotly(page: Page) -> None:
    """Every name in every figure is one that plotly has; it refuses any other."""
    from plotly import graph_objects

    for figure in page.figures:
        assert graph_objects.Figure(figure).data


def strings(value: Any) -> list[str]:
    """All texts in a figure."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in strings(item)]
    if isinstance(value, list):
        return [text for item in value for text in strings(item)]
    return [value] if isinstance(value, str) else []
