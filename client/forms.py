"""Forms of many photos (multipart/form-data, RFC 7578), sent piece by piece: as one block each photo would be in memory
twice, and what glibc keeps for each thread of blocks of megabytes is as much again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from urllib3 import fields, filepost

from client.photo import Upload


class Form:
    """Photos as parts of one name, as the body of a request of `requests`.

    It has a length, so that the request names it, and may be iterated again, so that it can be tried again.
    """

    def __init__(self, name: str, uploads: Sequence[Upload]) -> None:
        """The parts' file names are their places, from 0."""
        boundary = filepost.choose_boundary()
        self.media_type = f"multipart/form-data; boundary={boundary}"
        self._pieces: list[bytes] = []
        for place, upload in enumerate(uploads):
            part = fields.RequestField(name, b"", str(place))
            part.make_multipart(content_type=upload.media_type)
            self._pieces += [f"--{boundary}\r\n{part.render_headers()}".encode(), upload.body, b"\r\n"]
        self._pieces.append(f"--{boundary}--\r\n".encode())

    def __len__(self) -> int:
        """In bytes."""
        return sum(map(len, self._pieces))

    def __iter__(self) -> Iterator[bytes]:
        """The pieces in order."""
        return iter(self._pieces)
