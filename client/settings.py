"""Where the API is and which key it takes: flag > environment > profile file > running one-machine stack.

A key goes only to the URL it was configured with. One that stands alone (no URL beside it) goes to
whatever URL the user configured elsewhere, but never to a one-machine stack that merely happens to run.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import typer

from client import stack
from client.errors import NoApiError, UsageError

DEFAULT_PROFILE = "default"

DEFAULT_CONCURRENCY = 16
"""Requests under way at most; how many there are is found out by the API's answers (`pacing`)."""

DEFAULT_TIMEOUT = 30.0
"""Seconds to wait for each answer: the API's gateway gives up after 29."""

DEFAULT_PATIENCE = 300.0
"""Seconds to wait for an API that is down in the middle of a run: an endpoint takes minutes to be replaced."""

_START = "Start one with `python -m local_stack up`, or add --local, or name an API with --url (WHIPPET_URL)."


@dataclass(frozen=True)
class Settings:
    """One API. The key is kept out of `repr`, and so out of logs."""

    url: str
    api_key: str | None = field(repr=False)


def resolve(
    url: str | None = None,
    api_key: str | None = None,
    profile: str | None = None,
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """The API to use; NoApiError if none is configured or running, UsageError if a setting is wrong.

    `url` and `api_key` are the flags; naming a `profile` prefers its URL to the environment's.
    """
    flag = _Pair(url, api_key)
    env = _Pair(environ.get("WHIPPET_URL"), environ.get("WHIPPET_API_KEY"))
    file = _profile(profile, environ)
    pairs = [flag, file, env] if profile else [flag, env, file]
    where = next((pair.url for pair in pairs if pair.url), None)
    running = stack.running()
    if where is None and running is None:
        raise NoApiError("No API is configured and no one-machine stack is running.", _START)
    if where is None and api_key:
        raise UsageError("--api-key needs the URL it belongs to.", "Add --url, or drop --api-key.")
    if running is not None:
        pairs.append(_Pair(running.url, running.api_key))
    if where is None:
        pairs = pairs[-1:]
    chosen = where or pairs[0].url or ""
    return Settings(_checked_url(chosen), _checked_key(_key_for(chosen, pairs)))


@dataclass(frozen=True)
class _Pair:
    url: str | None
    api_key: str | None = field(repr=False)

    def fits(self, url: str) -> bool:
        return bool(self.api_key) and (not self.url or _normal(self.url) == _normal(url))


def _key_for(url: str, pairs: list[_Pair]) -> str | None:
    """The first key that was configured with this URL, else the first that stands alone."""
    fitting = [pair for pair in pairs if pair.fits(url)]
    flag_first = [pair for pair in pairs[:1] if pair.api_key]
    bound = [pair for pair in fitting if pair.url]
    return next((pair.api_key for pair in [*flag_first, *bound, *fitting]), None)


def _normal(url: str) -> str:
    return url.strip().rstrip("/").lower()


def defaults_from_profile(context: typer.Context, name: str | None) -> str | None:
    """typer's callback of --profile: what else its section has are defaults of the command's other options.

    typer.BadParameter for what cannot be read, and for a name that `classify`, which has them all, does not know.
    """
    try:
        section = _section(name, os.environ)
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error
    known = {
        option.removeprefix("--"): parameter
        for parameter in context.command.params
        for option in parameter.opts
        if option.startswith("--")
    }
    context.default_map = {
        str(parameter.name): [line for line in value.split("\n") if line]
        if getattr(parameter, "multiple", False)
        else value
        for key, value in section.items()
        if (parameter := known.get(key.replace("_", "-"))) is not None and key not in ("url", "api_key")
    }
    strange = sorted(key for key in section if key.replace("_", "-") not in known)
    if strange and context.info_name == "classify":
        raise typer.BadParameter(f"the profile file has settings that are no options: {', '.join(strange)}")
    return name


def _profile(name: str | None, environ: Mapping[str, str]) -> _Pair:
    section = _section(name, environ)
    return _Pair(section.get("url"), section.get("api_key"))


def _section(name: str | None, environ: Mapping[str, str]) -> Mapping[str, str]:
    """A section of the profile file, the default one without a name; empty where there is none."""
    path = profile_file(environ)
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError, configparser.Error) as error:
        fact = f"The profile file {path} cannot be read ({type(error).__name__})."
        raise UsageError(fact, "It holds lines such as [default], url = …, api_key = …") from error
    if name and not parser.has_section(name):
        known = ", ".join(parser.sections()) or "none"
        raise UsageError(f"There is no profile {name!r} in {path}.", f"Profiles there: {known}.")
    section = name or DEFAULT_PROFILE
    return parser[section] if parser.has_section(section) else {}


def profile_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the profile file is, whether it exists or not: WHIPPET_PROFILE_FILE, else the user's settings."""
    if named := environ.get("WHIPPET_PROFILE_FILE"):
        return Path(named)
    return Path(typer.get_app_dir("whippet")) / "config.ini"


def _checked_url(url: str) -> str:
    url = url.strip()
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if re.fullmatch(r"[\w.-]+(:\d+)?(/[\w./-]*)?", url):  # localhost:8000, which would be a scheme
        fact = "The API's URL says neither http nor https."
        raise UsageError(fact, "Put https:// before it, or http:// where the API runs on this machine.")
    if not fine or parts.query or parts.fragment or parts.username is not None:
        raise UsageError(
            "The API's URL cannot be used.", "It looks like https://HOST/STAGE, without query and password."
        )
    return url.rstrip("/")


def _checked_key(key: str | None) -> str | None:
    if key is not None and not (key.isascii() and key.isprintable() and key == key.strip()):
        raise UsageError("The API key has characters no key has.", "Copy it again, without spaces.")
    return key or None
