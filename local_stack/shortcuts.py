"""Where moto looks at all messages, or copies the whole table, for each request: only what the request is about.

For each message that comes or goes moto counts all others, and each transaction copies every item of its table for the
case that it fails. A job of 1,000 photos spends half a minute with that, one of 5,000 a quarter of an hour.
"""

from __future__ import annotations

import copy
import time
from typing import Any


def take() -> None:
    """Change moto's classes in this process."""
    from moto.dynamodb.models import DynamoDBBackend
    from moto.dynamodb.models.table import Table
    from moto.sqs import models as sqs

    whole = DynamoDBBackend.transact_write_items

    def transact_write_items(self: Any, transact_items: list[dict[str, Any]]) -> None:
        before = [_before(self, *next(iter(item.items()))) for item in transact_items]
        try:
            whole(self, transact_items)
        except Exception:
            for table, keys, item in before:
                _put_back(table, keys, item)
            raise

    replacements: list[tuple[Any, str, Any]] = [
        (DynamoDBBackend, "transact_write_items", transact_write_items),
        (Table, "__deepcopy__", lambda table, _: table),
        (sqs.SQSBackend, "is_message_valid_based_on_retention_period", _still_kept),
        (sqs, "unix_time_millis", lambda: time.time() * 1000),
    ]
    for owner, name, function in replacements:
        setattr(owner, name, function)


def _before(backend: Any, kind: str, operation: dict[str, Any]) -> tuple[Any, Any, Any]:
    """The item that an operation of a transaction is about, as it is now."""
    table = backend.get_table(operation["TableName"])
    names = (table.hash_key_attr, table.range_key_attr)
    source = operation["Item" if kind == "Put" else "Key"]
    keys = backend.get_keys_value(table, {name: source[name] for name in names if name in source})
    return table, keys, copy.deepcopy(table.get_item(*keys))


def _put_back(table: Any, keys: Any, item: Any) -> None:
    table.delete_item(*keys)
    if item is not None:
        table.items[keys[0]][keys[1]] = item


def _still_kept(backend: Any, queue_name: str, message: Any) -> bool:
    ends: float = message.sent_timestamp / 1000 + backend.get_queue(queue_name).message_retention_period
    return ends > time.time()
