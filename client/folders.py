"""The photos below a folder, in the order of names."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import TypeAlias

from client.reading import Source
from client.sieve import Sieve

_Below: TypeAlias = tuple[str, str]
"""A folder to look into: its path, and the same relative to the PATH with `/` at the end."""


def photos(folder: str, sieve: Sieve) -> Iterator[Source]:
    """The photos of a folder and those below it that pass the sieve.

    Links to files count as files; links to folders are counted and not followed, which makes loops harmless.
    A folder that cannot be read is a source with a problem. Names of one folder are in memory, files are not.
    """
    within = [_content((folder, ""), sieve)]  # a stack of our own: folders can be deeper than Python's calls
    while within:
        for found in within[-1]:
            if not isinstance(found, Source):
                within.append(_content(found, sieve))
                break
            yield found
        else:
            within.pop()


def _content(folder: _Below, sieve: Sieve) -> Iterator[Source | _Below]:
    path, relative = folder
    try:
        with os.scandir(path) as entries:
            found = sorted((entry.name, _mode(entry)) for entry in entries if sieve.rules.sees(entry.name))
    except OSError as error:
        problem = f"The folder cannot be read: {error.strerror}."
        yield Source(path, problem, hint="Check that you may read it.")
        return
    for name, mode in found:
        inner = os.path.join(path, name)
        if mode == stat.S_IFDIR:
            if sieve.enters(f"{relative}{name}/"):
                yield inner, f"{relative}{name}/"
        elif _is_file(inner, mode, sieve) and sieve.takes_file(inner, relative + name):
            yield Source(inner)


def _mode(entry: os.DirEntry[str]) -> int:
    """The file type as in `stat`, without asking the disk again; 0 for pipes and devices."""
    if entry.is_symlink():
        return stat.S_IFLNK
    if entry.is_dir(follow_symlinks=False):
        return stat.S_IFDIR
    return stat.S_IFREG if entry.is_file(follow_symlinks=False) else 0


def _is_file(path: str, mode: int, sieve: Sieve) -> bool:
    """Whether this is a file or a link to one, a broken link too: its own line tells. Counts what is not."""
    if mode == stat.S_IFLNK:
        try:
            mode = stat.S_IFMT(os.stat(path).st_mode)
        except OSError:
            return True
    sieve.links += mode == stat.S_IFDIR
    sieve.ignored += mode not in (stat.S_IFDIR, stat.S_IFREG)  # a pipe would be waited for
    return mode == stat.S_IFREG
