"""What can go wrong around an archive and the process that serves it; each message is one line with the mend.

    ServingError
    ├── ArchiveError     the archive cannot be built, unpacked or run
    ├── EngineError      the server that was asked for is not installed or does not start
    └── PortError        the address to listen on cannot be used

Errors of a model or a request are in `classifier.errors`.
"""

from __future__ import annotations


class ServingError(Exception):
    """Base of the errors that end a command with one line and exit code 1."""


class ArchiveError(ServingError):
    """The archive is missing, damaged, unsafe or incomplete."""


class EngineError(ServingError):
    """Another server than ours was asked for and cannot run."""


class PortError(ServingError):
    """The port is taken or not ours to use."""
