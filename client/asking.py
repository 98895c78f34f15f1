"""What is asked of the API about photos: one alone, many in one request, or one too large to be sent directly."""

from __future__ import annotations

import json
from collections.abc import Sequence

from client import answers
from client.errors import ApiError
from client.photo import Upload
from client.transport import PATIENT, Body, Patience, Transport
from lambda_api.schema import Classification, Limits, ModelDescription

PACK_BYTES = 4_000_000
"""Most bytes of photos in one request: base64 makes 4/3 of them in Lambda's event of 6 MB."""


def most_photos(limits: Limits, top_k: int) -> int:
    """Most photos in one request; 1 where that many labels are not to be had for more."""
    return max(1, limits.batch) if top_k <= limits.batch_top_k else 1


class Asker:
    """Asks one API with the same `top_k` always. Safe to share between threads."""

    def __init__(self, transport: Transport, description: ModelDescription, top_k: int) -> None:
        self._transport = transport
        self._limits = description.limits
        self._top_k = top_k

    @property
    def pack_photos(self) -> int:
        """Most photos in one request."""
        return most_photos(self._limits, self._top_k)

    def one(self, upload: Upload, patience: Patience = PATIENT) -> Classification:
        """The labels of a photo; ApiError, UnreachableError or PhotoError."""
        if len(upload.body) <= self._limits.image_bytes:
            return self._classified(upload.body, upload.media_type, patience)
        try:
            return self._classified(self._uploaded(upload, patience), "application/json", patience)
        except ApiError as error:
            if error.code != "upload_missing":
                raise
            # The answer to an earlier try was lost, and the upload went with it.
            return self._classified(self._uploaded(upload, patience), "application/json", patience)

    def _classified(self, data: bytes, media_type: str, patience: Patience) -> Classification:
        body = Body(data, media_type, {"top_k": self._top_k})
        return answers.classification(self._transport.post("/v1/classify", body, patience))

    def many(self, uploads: Sequence[Upload], patience: Patience = PATIENT) -> list[Classification | ApiError]:
        """Labels or an error for each photo, in their order; what concerns all of them is raised as by `one`.

        As a form: its bytes travel as they are, where JSON would add a third.
        """
        if len(uploads) == 1:
            return [self.one(uploads[0], patience)]
        from client.forms import Form

        form = Form("images", uploads)
        body = Body(form, form.media_type, {"top_k": self._top_k})
        return answers.batch(self._transport.post("/v1/classify/batch", body, patience), len(uploads))

    def _uploaded(self, upload: Upload, patience: Patience) -> bytes:
        """Send the photo beside the API; the body that names it."""
        wanted = Body(json.dumps({"content_type": upload.media_type}).encode(), "application/json")
        ticket = answers.ticket(self._transport.post("/v1/uploads", wanted, patience))
        self._transport.send_form(ticket.url, ticket.fields, upload.body, upload.media_type, patience)
        return json.dumps({"upload": ticket.upload}).encode()
