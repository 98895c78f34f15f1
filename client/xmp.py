"""XMP packets with our keywords in them: what others have written stays, what we wrote before is replaced.

Keywords are `dc:subject`, which every program that manages photos reads (XMP specification, part 1, 8.3). Which of
them are ours, and how sure the model was, stands in a namespace of our own.
"""

from __future__ import annotations

from xml.etree import ElementTree

from client.results import Outcome

RDF, DC, OURS = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "http://purl.org/dc/elements/1.1/",
    "urn:whippet:keywords:1",
)
_META = "adobe:ns:meta/"
_LABELS, _SCORE, _MODEL = (f"{{{OURS}}}{name}" for name in ("labels", "score", "model"))
_HEAD = b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_FOOT = b'\n<?xpacket end="w"?>'

for _prefix, _uri in (("rdf", RDF), ("dc", DC), ("x", _META), ("whippet", OURS)):
    ElementTree.register_namespace(_prefix, _uri)


def with_keywords(packet: bytes, outcome: Outcome) -> bytes:
    """A packet with the outcome's best label as a keyword; ValueError where the old one cannot be understood."""
    root = _parsed(packet) if packet.strip(b"\0 \r\n\t") else _empty()
    description = root.find(f".//{{{RDF}}}Description")
    if description is None:
        raise ValueError("the XMP has no description")
    best = outcome.predictions[0]
    label = _clean(best.label)
    bag = _bag(root, description)
    before = set((_note(root, _LABELS) or "").split("|")) - {""}
    for item in list(bag):
        if item.text in before or item.text == label:
            bag.remove(item)
    ElementTree.SubElement(bag, f"{{{RDF}}}li").text = label
    for name in (_LABELS, _SCORE, _MODEL):
        for other in root.iter(f"{{{RDF}}}Description"):
            other.attrib.pop(name, None)
    description.set(_LABELS, label)
    description.set(_SCORE, f"{best.score:.4f}")
    description.set(_MODEL, _clean(f"{outcome.model} {outcome.version}"))
    xml: bytes = ElementTree.tostring(root, "utf-8", xml_declaration=False)
    return _HEAD + xml + _FOOT


def _empty() -> ElementTree.Element:
    root = ElementTree.Element(f"{{{_META}}}xmpmeta")
    rdf = ElementTree.SubElement(root, f"{{{RDF}}}RDF")
    ElementTree.SubElement(rdf, f"{{{RDF}}}Description", {f"{{{RDF}}}about": ""})
    return root


def _parsed(packet: bytes) -> ElementTree.Element:
    """ValueError for what is no XML, and for entities, which XMP has none of and bombs are made of."""
    if b"<!DOCTYPE" in packet or b"<!ENTITY" in packet:
        raise ValueError("the XMP has a document type")
    try:
        return ElementTree.fromstring(packet.strip(b"\0"))  # noqa: S314 - without a document type there are no entities
    except ElementTree.ParseError as error:
        raise ValueError("the XMP is no XML") from error


def _bag(root: ElementTree.Element, description: ElementTree.Element) -> ElementTree.Element:
    subject = root.find(f".//{{{DC}}}subject")
    if subject is None:
        subject = ElementTree.SubElement(description, f"{{{DC}}}subject")
    bag = subject.find(f"{{{RDF}}}Bag")
    return ElementTree.SubElement(subject, f"{{{RDF}}}Bag") if bag is None else bag


def _note(root: ElementTree.Element, name: str) -> str | None:
    return next((found for d in root.iter(f"{{{RDF}}}Description") if (found := d.get(name))), None)


def _clean(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return "".join(c if c.isprintable() else "_" for c in text).replace("|", "/")
