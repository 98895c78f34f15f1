"""Packets of XMP with a keyword of ours."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from client import xmp
from tests.packets import OTHERS, keywords, outcome


def facts(packet: bytes) -> set[tuple[str, ...]]:
    """All that a packet says but for what is ours: each text and attribute under the names above it."""
    found = set()

    def visit(element: ElementTree.Element, above: tuple[str, ...]) -> None:
        place = (*above, str(element.tag))
        found.add((*place, (element.text or "").strip()))
        found.update((*place, name, value) for name, value in element.attrib.items() if xmp.OURS not in name)
        for child in element:
            visit(child, place)

    visit(ElementTree.fromstring(packet.rstrip(b"\0")), ())  # noqa: S314 - our own
    return found


def test_a_new_packet() -> None:
    """It has the keyword, and says how sure which model was; markup and control characters stay characters."""
    packet = xmp.with_keyword(b"", outcome("<b>&\x00 dog\ud800</b>\n", 0.98765))
    assert keywords(packet) == ["<b>&_ dog_<-b>"]
    assert b'whippet:score="0.9877"' in packet and b'whippet:model="m v"' in packet
    assert b'whippet:label="&lt;b&gt;&amp;_ dog_&lt;/b&gt;"' in packet
    assert packet.startswith(b"<?xpacket begin=") and packet.endswith(b'<?xpacket end="w"?>')


def test_what_others_have_written_stays() -> None:
    """Every fact, and the prefixes that simple programs look for."""
    packet = xmp.with_keyword(OTHERS, outcome())
    assert keywords(packet) == ["Holiday", "beagle", "pug"]
    assert facts(OTHERS) <= facts(packet)
    assert len(facts(packet) - facts(OTHERS)) == 1
    for text in (
        b'xmp:Rating="4"',
        b"<!-- by hand -->",
        b"<rdf:Bag>",
        b'photoshop:Instructions="two&#10;lines &amp; more"',
    ):
        assert text in packet


def test_our_own_is_replaced() -> None:
    """A later model's label takes the place of the first; the same one again changes nothing."""
    packet = b""
    for label in ("pug", "boxer", "beagle"):
        packet = xmp.with_keyword(packet, outcome(label))
    assert keywords(packet) == ["beagle"]
    assert xmp.with_keyword(packet, outcome("beagle")) == packet
    assert packet.count(b"whippet:keyword=") == 1


def test_a_keyword_that_somebody_else_gave_is_not_ours() -> None:
    """It stays when the label changes."""
    packet = xmp.with_keyword(xmp.with_keyword(OTHERS, outcome("beagle")), outcome("pug"))
    assert keywords(packet) == ["Holiday", "beagle", "pug"]


def test_ours_is_known_after_another_program_has_written() -> None:
    """Some make elements of attributes, and other prefixes."""
    packet = xmp.with_keyword(OTHERS, outcome("pug"))
    element = b'<w:keyword xmlns:w="' + xmp.OURS.encode() + b'">pug</w:keyword><dc:title>'
    packet = re.sub(rb' whippet:\w+="[^"]*"', b"", packet).replace(b"<dc:title>", element)
    assert keywords(xmp.with_keyword(packet, outcome("boxer"))) == ["Holiday", "beagle", "boxer"]


@pytest.mark.parametrize(
    "space", ["http://ns.adobe.com/lightroom/1.0/}hierarchicalSubject", "http://www.digikam.org/ns/1.0/}TagsList"]
)
def test_lists_of_other_programs(space: str) -> None:
    """Where they are, they have the keyword too, as one without levels; it is replaced there as well."""
    uri, _, name = space.partition("}")
    list_ = f'<a:{name} xmlns:a="{uri}"><rdf:Seq><rdf:li>Trip|Rome</rdf:li></rdf:Seq></a:{name}><dc:title>'.encode()
    packet = OTHERS.replace(b"<dc:title>", list_)
    for label in ("pug", "a/b|c"):
        packet = xmp.with_keyword(packet, outcome(label))
    assert keywords(packet, f"{{{space}") == ["Trip|Rome", "a-b-c"]
    assert keywords(packet) == ["Holiday", "beagle", "a-b-c"]


SPACE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
RDF = f'<rdf:RDF xmlns:rdf="{SPACE}" xmlns:dc="{xmp.DC}">%s</rdf:RDF>'
OTHER_LIST = "<dc:subject><rdf:Seq><rdf:li/><rdf:li>x</rdf:li></rdf:Seq></dc:subject>"


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        (RDF % "", ["pug"]),
        (RDF % '<rdf:Description rdf:about=""/>', ["pug"]),
        (RDF % "<rdf:Description><dc:subject/></rdf:Description>", ["pug"]),
        (RDF % f"<rdf:Description/><rdf:Description>{OTHER_LIST}</rdf:Description>", [None, "x", "pug"]),
        (
            RDF % f"<rdf:Description><dc:x><rdf:Description>{OTHER_LIST}</rdf:Description></dc:x></rdf:Description>",
            ["pug"],
        ),
        (f'<r:RDF xmlns:r="{SPACE}"><r:Description xmlns:rdf="urn:other" rdf:a="1"/></r:RDF>', ["pug"]),
        (f'<RDF xmlns="{SPACE}"><Description/></RDF>', ["pug"]),
    ],
)
def test_other_ways_to_write_it(packet: str, found: list[str | None]) -> None:
    """Packets need not look like Adobe's."""
    written = xmp.with_keyword(packet.encode(), outcome())
    assert keywords(written) == found
    assert xmp.with_keyword(written, outcome()) == written
    assert facts(packet.encode()) <= facts(written)


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>'


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (BOMB.encode(), "document type"),
        (BOMB.encode("utf-16"), "document type"),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x/>', "document type"),
        (b"<x>&b;</x>", "no XML"),
        (b"no xml", "no XML"),
        (b"<x/>", "no RDF"),
        (b'<?xml version="1.0" encoding="rot13"?><x/>', "no XML"),
        (b"<x>" * 100_000, "too deeply"),
        (b"<!-- nothing -->", "no XML"),
    ],
)
def test_what_is_dangerous_or_none(packet: bytes, why: str) -> None:
    """Nothing is expanded, fetched or guessed."""
    with pytest.raises(ValueError, match=why):
        xmp.with_keyword(packet, outcome())


def test_prefixes_of_one_packet_are_not_those_of_the_next() -> None:
    """A hostile one must not spoil what is written for others."""
    clean = xmp.with_keyword(OTHERS, outcome())
    odd = OTHERS.replace(b'xmlns:odd="urn:odd"', b'xmlns:odd="urn:odd" xmlns:whippet="urn:evil" whippet:a="1"')
    assert xmp.with_keyword(odd, outcome()) != clean
    assert xmp.with_keyword(OTHERS, outcome()) == clean
