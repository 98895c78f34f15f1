"""The table of jobs: one item for the job, one for what it was asked, one for each photo.

Every change is a transaction with conditions, so that a photo counts once however often its message comes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from functools import cache
from typing import Any

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError
from tenacity import retry, retry_if_exception, stop_after_attempt, wait_random_exponential

from ..schema import ItemError, JobState, WebhookState
from ..settings import settings
from .request import JobRequest

KEPT_SECONDS = 2 * 24 * 3600
"""How long a job is known, in seconds; its uploads and results are gone a day earlier."""

IN_A_TRANSACTION = 100
"""Most items that change together (AWS quota)."""

_TIME = "%Y-%m-%dT%H:%M:%SZ"
JOB, ASKED, PHOTO = "job", "asked", "photo#"
_ACTIVE = {":queued": "queued", ":running": "running"}
_IS_ACTIVE = "#s IN (:queued, :running)"


@dataclass(frozen=True)
class JobRecord:
    """What is known of a job. `pages` have been listed; `results` says whether the file of results is there."""

    id: str
    owner: str
    digest: str
    top_k: int
    created: str
    state: JobState = "queued"
    listed: bool = False
    pages: int = 0
    photos: int = 0
    ok: int = 0
    failed: int = 0
    finished: str | None = None
    results: bool = False
    error: ItemError | None = None
    webhook: str = ""
    webhook_state: WebhookState | None = None

    @property
    def active(self) -> bool:
        """Whether there is still work to do."""
        return self.state in _ACTIVE.values()

    @property
    def age(self) -> float:
        """Seconds since it was asked for."""
        began = datetime.strptime(self.created, _TIME).replace(tzinfo=timezone.utc)
        return (datetime.now(timezone.utc) - began).total_seconds()

    @property
    def complete(self) -> bool:
        """Whether every photo has its result."""
        return self.listed and self.ok + self.failed >= self.photos

    @property
    def in_debt(self) -> bool:
        """Whether a job that ended still owes its results or its webhook."""
        return self.webhook_state == "waiting" or (self.state == "cancelled" and not self.results)


@dataclass(frozen=True)
class PhotoRecord:
    """A photo of a job: `path` as its result line names it, where it lies, and the line once there is one."""

    sort_key: str
    path: str
    bucket: str
    key: str
    upload: str = ""
    line: str = ""


@dataclass(frozen=True)
class Line:
    """A photo's result: the JSON line, and whether there are labels in it."""

    photo: PhotoRecord
    text: str
    ok: bool


class Jobs:
    """All jobs of one table."""

    def __init__(self, table: str, client: Any) -> None:
        self._table, self._client = table, client

    def create(self, job: JobRecord, request: JobRequest) -> JobRecord:
        """The new job, or the one that has its id already."""
        uploads = json.dumps(request.uploads, ensure_ascii=False)  # as escapes a letter would have six bytes
        asked = {"pk": job.id, "sk": ASKED, "uploads": uploads, "prefix": request.prefix}
        puts = [self._put(_item(job)), self._put({**asked, "expires": _expires()})]
        return job if self._write(puts) is None else self.job(job.id) or job

    def job(self, identifier: str) -> JobRecord | None:
        """The job as it is now, or None."""
        item = self._get(identifier, JOB)
        return None if item is None else _record(item)

    def asked(self, identifier: str) -> tuple[list[tuple[str, str]], str]:
        """The uploads (id, key) and the prefix of a job."""
        item = self._get(identifier, ASKED) or {"uploads": "[]", "prefix": ""}
        return [(name, key) for name, key in json.loads(item["uploads"])], item["prefix"]

    def add(self, identifier: str, photos: Sequence[PhotoRecord]) -> None:
        """Write photos down and count them, those that are new; nothing where the job has ended meanwhile."""
        for start in range(0, len(photos), IN_A_TRANSACTION - 1):
            self._add(identifier, list(photos[start : start + IN_A_TRANSACTION - 1]))

    def _add(self, identifier: str, photos: list[PhotoRecord]) -> None:
        while photos:
            puts = [self._put(_photo_item(identifier, photo)) for photo in photos]
            values = {":n": len(photos), **_ACTIVE}
            count = self._update(identifier, JOB, "ADD photos :n", values, _IS_ACTIVE, {"#s": "state"})
            taken = self._write([*puts, count])
            if taken is None or taken[-1]:
                return
            photos = [photo for photo, here in zip(photos, taken, strict=False) if not here]

    def page_done(self, identifier: str, page: int, last: bool) -> None:
        """That page `page` is written down and its messages are sent."""
        values = {":p": page, ":next": page + 1, ":last": last}
        update = "SET pages = :next, listed = :last, #s = :running"
        condition = f"pages = :p AND {_IS_ACTIVE}"
        self._change(identifier, update, {**values, **_ACTIVE}, condition, {"#s": "state"})

    def photos(self, identifier: str, sort_keys: Sequence[str]) -> list[PhotoRecord]:
        """Those photos, in any order; unknown ones are left out."""
        keys = [{"pk": {"S": identifier}, "sk": {"S": key}} for key in dict.fromkeys(sort_keys)]
        found = _batch_get(self._client, {self._table: {"Keys": keys, "ConsistentRead": True}}) if keys else {}
        return [_photo(_plain(item)) for item in found.get(self._table, [])]

    def all_photos(self, identifier: str) -> Iterator[PhotoRecord]:
        """Every photo of a job, in the order of the request or of their names."""
        pages = self._client.get_paginator("query").paginate(
            TableName=self._table,
            ConsistentRead=True,
            KeyConditionExpression="pk = :id AND begins_with(sk, :photo)",
            ExpressionAttributeValues=_typed({":id": identifier, ":photo": PHOTO}),
        )
        for page in pages:
            yield from (_photo(_plain(item)) for item in page["Items"])

    def record(self, identifier: str, lines: list[Line]) -> None:
        """Write results down and count them, those that are new; nothing where the job has ended meanwhile."""
        while lines:
            updates = [self._first_line(identifier, line) for line in lines]
            ok = sum(line.ok for line in lines)
            values = {":ok": ok, ":failed": len(lines) - ok, **_ACTIVE}
            update = "SET #s = :running ADD ok :ok, failed :failed"
            count = self._update(identifier, JOB, update, values, _IS_ACTIVE, {"#s": "state"})
            taken = self._write([*updates, count])
            if taken is None or taken[-1]:
                return
            lines = [line for line, done in zip(lines, taken, strict=False) if not done]

    def _first_line(self, identifier: str, line: Line) -> dict[str, Any]:
        values = {":line": line.text, ":none": ""}
        return self._update(identifier, line.photo.sort_key, "SET line = :line", values, "line = :none")

    def end(self, identifier: str, state: JobState, error: ItemError | None = None) -> None:
        """The job has failed or is cancelled; nothing where it had ended already."""
        values: dict[str, Any] = {":state": state, ":now": now()}
        update, names = "SET #s = :state, finished = :now", {"#s": "state"}
        if error:
            update += ", #e = :error"
            values[":error"] = json.dumps(asdict(error))
            names["#e"] = "error"
        self._change(identifier, update, {**values, **_ACTIVE}, _IS_ACTIVE, names)

    def finish(self, identifier: str) -> None:
        """The file of results is there: the job is done, or stays cancelled."""
        values = {":done": "done", ":now": now(), ":yes": True}
        update = "SET #s = :done, finished = :now, results = :yes"
        if not self._change(identifier, update, {**values, **_ACTIVE}, _IS_ACTIVE, {"#s": "state"}):
            self._change(identifier, "SET results = :yes", {":yes": True}, "attribute_exists(pk)")

    def told(self, identifier: str, state: WebhookState) -> None:
        """How the call of the webhook went."""
        self._change(identifier, "SET webhook_state = :state", {":state": state}, "attribute_exists(pk)")

    def _get(self, identifier: str, sort_key: str) -> dict[str, Any] | None:
        key = {"pk": {"S": identifier}, "sk": {"S": sort_key}}
        item = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        return _plain(item) if item else None

    def _put(self, item: dict[str, Any]) -> dict[str, Any]:
        put = {"TableName": self._table, "Item": _typed(item), "ConditionExpression": "attribute_not_exists(pk)"}
        return {"Put": put}

    def _update(
        self,
        identifier: str,
        sort_key: str,
        update: str,
        values: dict[str, Any],
        condition: str = "attribute_exists(pk)",
        names: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        change = {
            "TableName": self._table,
            "Key": {"pk": {"S": identifier}, "sk": {"S": sort_key}},
            "UpdateExpression": update,
            "ConditionExpression": condition,
            "ExpressionAttributeValues": _typed(values),
        }
        return {"Update": {**change, "ExpressionAttributeNames": names} if names else change}

    def _change(self, identifier: str, update: str, values: dict[str, Any], condition: str, names: Any = None) -> bool:
        """One item's change; False where its condition does not hold."""
        try:
            _update_item(self._client, self._update(identifier, JOB, update, values, condition, names)["Update"])
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _write(self, actions: list[dict[str, Any]]) -> list[bool] | None:
        """Do all or nothing: None where it was done, else whose condition did not hold."""
        try:
            _transact(self._client, actions)
        except self._client.exceptions.TransactionCanceledException as error:
            reasons = [reason.get("Code") for reason in error.response["CancellationReasons"]]
            if "ConditionalCheckFailed" not in reasons:
                raise
            return [reason == "ConditionalCheckFailed" for reason in reasons]
        return None


_PASSING = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})
"""Why a transaction is refused that may be made a moment later: another worker changes the same job, or many do."""


class _Incomplete(Exception):
    """DynamoDB has read a part of what was asked for, since there is too much to do."""


def _passes(error: BaseException) -> bool:
    """Whether a request may be made again at once: botocore sees to all others."""
    if isinstance(error, _Incomplete):
        return True
    if not isinstance(error, ClientError):
        return False
    if error.response["Error"]["Code"] == "TransactionConflictException":
        return True
    reasons = {reason.get("Code") for reason in error.response.get("CancellationReasons", [])}
    return "ConditionalCheckFailed" not in reasons and bool(reasons & _PASSING)


_again = retry(
    retry=retry_if_exception(_passes),
    wait=wait_random_exponential(multiplier=0.05, max=2),
    stop=stop_after_attempt(10),
    reraise=True,
)


@_again
def _transact(client: Any, actions: list[dict[str, Any]]) -> None:
    client.transact_write_items(TransactItems=actions)


@_again
def _batch_get(client: Any, request: dict[str, Any]) -> dict[str, Any]:
    """The items by table."""
    answer = client.batch_get_item(RequestItems=request)
    if answer.get("UnprocessedKeys"):
        raise _Incomplete
    found: dict[str, Any] = answer["Responses"]
    return found


@_again
def _update_item(client: Any, change: dict[str, Any]) -> None:
    client.update_item(**change)


def now() -> str:
    """ISO 8601 in UTC, to the second."""
    return datetime.now(timezone.utc).strftime(_TIME)


def _expires() -> int:
    return int(time.time()) + KEPT_SECONDS


def _item(job: JobRecord) -> dict[str, Any]:
    values = {name: value for name, value in asdict(job).items() if value is not None and name != "id"}
    return {"pk": job.id, "sk": JOB, "expires": _expires(), **values}


def _record(item: dict[str, Any]) -> JobRecord:
    values = {name: item[name] for name in JobRecord.__dataclass_fields__ if name in item}
    counts = {name: int(values[name]) for name in ("top_k", "pages", "photos", "ok", "failed")}
    error = ItemError(**json.loads(values["error"])) if "error" in values else None
    return JobRecord(**{**values, **counts, "id": item["pk"], "error": error})


def _photo_item(identifier: str, photo: PhotoRecord) -> dict[str, Any]:
    values = {name: value for name, value in asdict(photo).items() if name != "sort_key"}
    return {"pk": identifier, "sk": photo.sort_key, "expires": _expires(), **values}


def _photo(item: dict[str, Any]) -> PhotoRecord:
    names = ("path", "bucket", "key", "upload", "line")
    return PhotoRecord(item["sk"], **{name: item[name] for name in names})


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeSerializer().serialize(value) for name, value in values.items()}


def _plain(item: dict[str, Any]) -> dict[str, Any]:
    return {name: TypeDeserializer().deserialize(value) for name, value in item.items()}


@cache
def jobs() -> Jobs:
    """This process's table."""
    config = Config(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 6, "mode": "standard"})
    return Jobs(settings().jobs_table, boto3.client("dynamodb", config=config))
