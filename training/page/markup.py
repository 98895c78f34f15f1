"""HTML that is safe by construction: text is escaped unless it is already `Html`."""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Sequence
from typing import Any

from .output import plain

NO_VALUE = "\N{EN DASH}"
_LONG = 10  # characters of a card's value that go beside others in large type
_VOID = ("img", "meta")


class Html(str):
    """Text that is HTML already; everything else is escaped on its way into a page."""

    __slots__ = ()


def escape(text: str) -> Html:
    """The text so that it shows as written, in content, in attributes and in the labels of plotly.

    Plotly reads some tags and entities in its labels, so that the same escaping serves both; `&quot;` is not
    among the entities it knows, its number is.
    """
    return text if isinstance(text, Html) else Html(html.escape(text).replace("&quot;", "&#34;"))


def join(parts: Iterable[str]) -> Html:
    """Parts one after another, each escaped unless it is HTML."""
    return Html("".join(escape(part) for part in parts))


def tag(name: str, /, *children: str, **attributes: str | None) -> Html:
    """One element. Attributes of None are left out; `class_` and `data_x` are written `class` and `data-x`."""
    pairs = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    start = "".join(f' {key}="{escape(value)}"' for key, value in pairs)
    end = "" if name in _VOID else f"{join(children)}</{name}>"
    return Html(f"<{name}{start}>{end}")


def paragraph(*children: str, class_: str | None = None) -> Html:
    """One paragraph."""
    return tag("p", *children, class_=class_)


def cards(*each: Html) -> Html:
    """Numbers side by side, each a `card`."""
    return tag("ul", *each, class_="cards thirds" if len(each) in (3, 6) else "cards")


def card(name: str, value: str, meaning: str, beside: str = "") -> Html:
    """A number with one sentence, and `beside` it what it is to be measured by."""
    look = "value long" if len(value) > _LONG else "value"
    extra = [paragraph(beside, class_="interval")] if beside else []
    return tag("li", tag("h3", name), paragraph(value, class_=look), *extra, paragraph(meaning))


def fold(title: str, *children: str, opened: bool = False) -> Html:
    """A part that is shown when its title is clicked."""
    return tag("details", tag("summary", title), *children, open="" if opened else None)


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], *, sortable: bool = False) -> Html:
    """A table whose first column names the row; wide ones scroll by themselves, not the page.

    A `sortable` one is sorted by clicking a heading: numbers by their `data-value`, see `number`.
    """
    heads = (tag("button", text, type="button") if sortable else text for text in head)
    body = (tag("tr", tag("th", row[0], scope="row"), *(_cell(cell) for cell in row[1:])) for row in rows)
    content = tag(
        "table",
        tag("caption", caption),
        tag("thead", tag("tr", *(tag("th", text, scope="col") for text in heads))),
        tag("tbody", *body),
        class_="sortable" if sortable else None,
    )
    # A region that scrolls must be reachable by keyboard.
    return tag("div", content, class_="scroll", tabindex="0", role="region", aria_label=caption)


def number(text: str, value: float | None, *, bar: bool = False) -> Html:
    """A cell that shows `text` and sorts by `value`; with `bar`, a share in 0..1 is also drawn behind it."""
    style = f"--share:{value:.1%}" if bar and value is not None else None
    sort_by = None if value is None else f"{value:.6g}"
    return tag("td", text, class_="bar" if bar else "number", data_value=sort_by, style=style)


def _cell(content: str) -> Html:
    return content if isinstance(content, Html) and content.startswith("<td") else tag("td", content)


def percent(share: float | None) -> str:
    """0.8765 as "87.7 %", None as a dash."""
    return NO_VALUE if share is None else f"{100 * share:.1f} %"


def interval(bounds: Sequence[float] | None) -> str:
    """(0.834, 0.91) as "83.4 to 91.0 %", None as a dash."""
    return NO_VALUE if bounds is None else f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f} %"


def embedded_json(value: Any) -> Html:
    """Strict JSON for a `<script>` element: no `</script>` and no `<!--` can end or change it."""
    text = json.dumps(plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Html(text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))


def plot(figure: dict[str, Any], summary: str, caption: str, height: int = 420) -> Html:
    """A place that `page.js` draws a plotly figure into; `summary` says in words what it shows.

    The height is CSS, in pixels: plotly forgets a height in the layout when the window changes.
    """
    return tag(
        "figure",
        tag("div", class_="plot", role="img", aria_label=summary, style=f"height:{height}px"),
        tag("script", embedded_json(figure), type="application/json"),
        tag("figcaption", caption),
        class_="chart",
    )
