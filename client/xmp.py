"""XMP packets with a label as a keyword: what others have written stays, what we wrote before is replaced.

Keywords are `dc:subject`, which every program that manages photos reads (XMP specification, part 1, 8.3), and the lists
of Lightroom and digiKam where there are some already: digiKam reads nothing else then. What the model said, and whether
the keyword is ours, stands in a namespace of our own.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from client.results import Outcome

RDF, DC, OURS = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://purl.org/dc/elements/1.1/",
    "urn:whippet:keywords:1",
)
_META = "adobe:ns:meta/"
_PREFIXES = {"http://www.w3.org/XML/1998/namespace": "xml", RDF: "rdf", DC: "dc", OURS: "whippet", _META: "x"}
_LI, _DESCRIPTION = f"{{{RDF}}}li", f"{{{RDF}}}Description"
_SUBJECT = f"{{{DC}}}subject"
_OTHER_LISTS = ("{http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject", "{http://www.digikam.org/ns/1.0/}TagsList")
_CONTAINERS = tuple(f"{{{RDF}}}{name}" for name in ("Bag", "Seq", "Alt"))
_KEYWORD, _LABEL, _SCORE, _MODEL = (f"{{{OURS}}}{name}" for name in ("keyword", "label", "score", "model"))
_HEAD = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_FOOT = b'\n<?xpacket end="w"?>'

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LEVELS = re.compile("[|/]")
"""What programs tell levels of keywords apart by."""

_DEEPEST = 100
"""Elements within elements: real packets have some ten, and thousands would be more than Python's stack takes."""


def with_keyword(packet: bytes, outcome: Outcome) -> bytes:
    """A packet, or nothing, with the outcome's best label as a keyword; ValueError where it cannot be understood."""
    root, prefixes = _parsed(packet) if packet.strip(b"\0 \r\n\t") else (_empty(), {})
    rdf = root if root.tag == f"{{{RDF}}}RDF" else root.find(f"{{{RDF}}}RDF")
    if rdf is None:
        raise ValueError("The XMP has no RDF.")
    descriptions = rdf.findall(_DESCRIPTION) or [SubElement(rdf, _DESCRIPTION, {f"{{{RDF}}}about": ""})]
    best = outcome.predictions[0]
    keyword = _LEVELS.sub("-", _clean(best.label))
    notes = {_LABEL: _clean(best.label), _SCORE: f"{best.score:.4f}"}
    if outcome.model:
        notes[_MODEL] = _clean(f"{outcome.model} {outcome.version or ''}")
    before = _forgotten(descriptions)
    if _replaced(_lists(descriptions), before, keyword):
        notes[_KEYWORD] = keyword
    descriptions[0].attrib.update(notes)
    return _HEAD + _written(root, prefixes) + _FOOT


class _Builder(ElementTree.TreeBuilder):
    """Keeps comments and prefixes, and refuses document types: XMP has none, and bombs are made of their entities."""

    def __init__(self) -> None:
        super().__init__(insert_comments=True, insert_pis=True)
        self.prefixes: dict[str, str] = {}
        self._depth = 0

    def doctype(self, *_: object) -> None:
        raise ValueError("The XMP has a document type.")

    def start_ns(self, prefix: str | None, uri: str | None) -> None:
        self.prefixes.setdefault(uri or "", prefix or "")

    def start(self, tag: Any, attrs: dict[Any, Any], /) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise ValueError("The XMP is nested too deeply.")
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def _parsed(packet: bytes) -> tuple[Element, dict[str, str]]:
    builder = _Builder()
    parser = ElementTree.XMLParser(target=builder)  # noqa: S314 - the builder refuses what is dangerous
    try:
        parser.feed(packet.rstrip(b"\0"))
        root: Element = parser.close()
    except (ElementTree.ParseError, LookupError, AssertionError) as error:
        raise ValueError("The XMP is no XML.") from error
    return root, builder.prefixes


def _written(root: Element, prefixes: dict[str, str]) -> bytes:
    """With the prefixes it had, since some programs know no others. The tree is of no use afterwards."""
    names: dict[str, str] = {}
    for uri, prefix in (_PREFIXES | prefixes).items():
        names[uri] = prefix if prefix and prefix not in names.values() else f"n{len(names)}"

    def named(name: str) -> str:
        uri, _, local = name.rpartition("}")
        return f"{names[uri[1:]]}:{local}" if uri else name

    for element in root.iter():
        if isinstance(element.tag, str):  # no comment
            element.tag = named(element.tag)
            element.attrib = {named(name): value for name, value in element.attrib.items()}
    root.attrib.update({f"xmlns:{prefix}": uri for uri, prefix in names.items() if prefix != "xml"})
    xml: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=False)
    return xml


def _empty() -> Element:
    root = Element(f"{{{_META}}}xmpmeta")
    SubElement(SubElement(root, f"{{{RDF}}}RDF"), _DESCRIPTION, {f"{{{RDF}}}about": ""})
    return root


def _forgotten(descriptions: list[Element]) -> str | None:
    """Take out all notes of ours, which another program may have made elements of; gives the keyword that is ours."""
    keyword = None
    for description in descriptions:
        keyword = description.get(_KEYWORD) or description.findtext(_KEYWORD) or keyword
        for name in (_KEYWORD, _LABEL, _SCORE, _MODEL):
            description.attrib.pop(name, None)
            for element in description.findall(name):
                description.remove(element)
    return keyword


def _lists(descriptions: list[Element]) -> list[Element]:
    """The list of keywords, made if need be, and those of other programs that are there."""
    found = [list_ for d in descriptions for name in _OTHER_LISTS for list_ in _containers(d.find(name))]
    own = [list_ for d in descriptions for list_ in _containers(d.find(_SUBJECT))]
    if not own:
        subject = next((s for d in descriptions if (s := d.find(_SUBJECT)) is not None), None)
        own = [SubElement(SubElement(descriptions[0], _SUBJECT) if subject is None else subject, _CONTAINERS[0])]
    return own[:1] + found


def _containers(list_: Element | None) -> list[Element]:
    return [] if list_ is None else [child for child in list_ if child.tag in _CONTAINERS]


def _replaced(lists: list[Element], before: str | None, label: str) -> bool:
    """Put the keyword into all lists in the place of the last one; False where somebody else has put it there."""
    for list_ in lists:
        for item in [item for item in list_ if item.tag == _LI and item.text is not None and item.text == before]:
            list_.remove(item)
    if any(item.text == label for item in lists[0]):
        return False
    for list_ in lists:
        SubElement(list_, _LI).text = label
    return True


def _clean(text: str) -> str:
    """What XML can hold, on one line."""
    return " ".join(_NOT_XML.sub("_", text).split())
