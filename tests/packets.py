"""Packets of XMP, and results whose labels go into them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from client import xmp
from client.results import Outcome
from lambda_api.schema import Decision, Prediction

OTHERS = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><!-- by hand --><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmp:Rating="4"
 xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" photoshop:Instructions="two&#xA;lines &amp; more"
 xmlns:odd="urn:odd" odd:empty="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:mm="http://ns.adobe.com/xap/1.0/mm/">
<mm:Pantry><rdf:Bag><rdf:li><rdf:Description><dc:subject><rdf:Bag><rdf:li>of a part</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:li></rdf:Bag></mm:Pantry>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">H\xc3\xb6hle</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>Holiday</rdf:li><rdf:li>beagle</rdf:li></rdf:Bag></dc:subject>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>\0\0"""


def outcome(
    label: str = "pug", score: float = 0.91, path: Path | str = "a.jpg", decision: Decision = "confident"
) -> Outcome:
    """A result with this best label."""
    return Outcome(str(path), "ab", (Prediction(label, "n1", score),), decision, model="m", version="v")


def keywords(packet: bytes, name: str = f"{{{xmp.DC}}}subject") -> list[str | None]:
    """Those of the photo itself."""
    root = ElementTree.fromstring(packet)  # noqa: S314 - our own
    rdf = root if root.tag == f"{{{xmp.RDF}}}RDF" else root[0]
    return [item.text for list_ in rdf.iterfind(f"{{{xmp.RDF}}}Description/{name}/*") for item in list_]
