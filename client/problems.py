"""Photos that something could not be done with: told after the rest is done, and stopping nothing."""

from __future__ import annotations

from client.errors import ClientError
from client.output import printable

SHOWN = 5
"""How many are told one by one; the same reason often holds for thousands."""


class Problems(list[tuple[str, str]]):
    """Names with the reason why not."""

    def add(self, name: str, error: Exception) -> None:
        """Note one, with the reason that an exception gives."""
        if isinstance(error, ClientError):
            self.append((name, str(error)))
        else:
            self.append((name, getattr(error, "strerror", None) or str(error)))

    def lines(self) -> list[str]:
        """A line for each of the first ones, and one for how many there are more."""
        lines = [f"  {printable(name)}: {why}" for name, why in self[:SHOWN]]
        return lines + [f"  and {len(self) - SHOWN:,} more"] * (len(self) > SHOWN)
