"""What .zip and .tar have in common: names of members, and why one cannot be read."""

from __future__ import annotations

from client.errors import PhotoError
from client.sieve import Sieve

_JUNK = "__MACOSX/"
_UNPACK = "Unpack the archive with another program and name the folder."


def plain(name: str) -> str:
    """A member's name without what would lead out of the archive's folder; empty where nothing is left."""
    return "/".join(part for part in name.split("/") if part not in ("", ".", ".."))


def is_seen(name: str, sieve: Sieve) -> bool:
    """Whether a member is looked at at all."""
    return bool(name) and not name.startswith(_JUNK) and sieve.rules.sees(name)


def unopened() -> PhotoError:
    """The refusal of a whole archive."""
    fact = "It is no archive, or it is damaged."
    return PhotoError("unreadable", fact, "Supported are .zip, .tar, .tar.gz, .tar.bz2 and .tar.xz; is it complete?")


def broken() -> PhotoError:
    """The refusal of an archive that breaks off, or whose checksum is wrong in the end."""
    fact = "The archive is cut off or damaged: photos of it are missing or broken."
    return PhotoError("unreadable", fact, "Copy it again from where it came.")


def damaged() -> PhotoError:
    """The refusal of a member whose bytes are not right."""
    return PhotoError(
        "unreadable", "The archive's copy of it is damaged.", "Copy the archive again from where it came."
    )


def locked() -> PhotoError:
    """The refusal of an encrypted member."""
    return PhotoError("unreadable", "It is encrypted in the archive.", _UNPACK)


def packed() -> PhotoError:
    """The refusal of a way of packing that Python does not know."""
    return PhotoError("unreadable", "It is packed in a way that cannot be read here.", _UNPACK)


def linked() -> PhotoError:
    """The refusal of a link: what it leads to may be outside of the archive."""
    return PhotoError("unreadable", "It is a link in the archive.", _UNPACK)


def missing() -> PhotoError:
    """The refusal of a name that the archive does not hold."""
    return PhotoError("unreadable", "The archive holds no such member.", "Has it been changed since?")
