"""What can go wrong around an archive.

    ArchiveError     the archive cannot be built, unpacked or run; the message says what and the mend

Errors of a model or a request are in `classifier.errors`.
"""

from __future__ import annotations


class ArchiveError(Exception):
    """One line for the person at the terminal: the fact plus the mend."""
