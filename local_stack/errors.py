"""What can go wrong with the one-machine stack.

StackError    a part cannot start or has died; one line with the fact and the mend
"""

from __future__ import annotations


class StackError(Exception):
    """One line for the person at the terminal."""
