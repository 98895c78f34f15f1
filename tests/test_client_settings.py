"""Which API is asked, and which key it gets."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from client import settings, stack
from client.errors import NoApiError, UsageError

ENV, FILE, STACK = "https://env.example/prod", "https://file.example/prod", "http://127.0.0.1:9"


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty profile file and no running stack."""
    monkeypatch.setenv("WHIPPET_STATE_FILE", str(tmp_path / "stack.json"))
    return tmp_path


def _resolved(
    places: Path,
    flag: tuple[str | None, str | None] = (None, None),
    env: tuple[str | None, str | None] = (None, None),
    profile: str | None = None,
) -> tuple[str, str | None]:
    environ = {"WHIPPET_PROFILE_FILE": str(places / "config.ini")}
    environ |= {k: v for k, v in zip(("WHIPPET_URL", "WHIPPET_API_KEY"), env, strict=True) if v}
    found = settings.resolve(*flag, profile, environ)
    return found.url, found.api_key


def _write_profile(places: Path) -> None:
    text = f"[default]\nurl = {FILE}/\napi_key = 100%file\n[other]\nurl = https://other.example\napi_key = other\n"
    (places / "config.ini").write_text(text)


def _write_stack(pid: int | None) -> None:
    state = {"url": STACK, "api_key": "stack", "endpoint_url": "e", "model": "m", "pid": pid}
    stack.state_file().write_text(json.dumps(state))


def test_precedence(places: Path) -> None:
    """Flag before environment before profile file before a running stack, each with its own key."""
    _write_stack(os.getpid())
    assert _resolved(places) == (STACK, "stack")
    _write_profile(places)
    assert _resolved(places) == (FILE, "100%file")
    assert _resolved(places, env=(ENV, "env")) == (ENV, "env")
    assert _resolved(places, ("https://flag.example", "flag"), (ENV, "env")) == ("https://flag.example", "flag")
    assert _resolved(places, profile="other", env=(ENV, "env")) == ("https://other.example", "other")


def test_a_key_stays_with_its_url(places: Path) -> None:
    """A key configured with one URL is never sent to another, nor a lone one to a stack that happens to run."""
    _write_profile(places)
    _write_stack(os.getpid())
    assert _resolved(places, ("https://flag.example", None), (ENV, "env")) == ("https://flag.example", None)
    assert _resolved(places, env=(ENV, None)) == (ENV, None)
    (places / "config.ini").unlink()
    assert _resolved(places, env=(None, "env")) == (STACK, "stack")


def test_the_same_url_finds_its_key(places: Path) -> None:
    """Naming a configured URL again finds its key; a lone key goes to a URL from elsewhere."""
    _write_profile(places)
    _write_stack(os.getpid())
    assert _resolved(places, (FILE, None)) == (FILE, "100%file")
    assert _resolved(places, (STACK + "/", None)) == (STACK, "stack")
    assert _resolved(places, (ENV, None), (None, "lone")) == (ENV, "lone")
    assert _resolved(places, (None, "flag"), (ENV, "env")) == (ENV, "flag")


def test_a_lone_flag_key_is_refused_for_a_stack(places: Path) -> None:
    """--api-key without any configured URL is an error, not a guess."""
    _write_stack(os.getpid())
    with pytest.raises(UsageError, match="--url"):
        _resolved(places, (None, "flag"))


@pytest.mark.parametrize("pid", [2**22 + 1, -1, 0])
def test_a_dead_stack_is_absent(places: Path, pid: int) -> None:
    """A state file whose process is gone counts for nothing, and the message says how to start one."""
    _write_stack(pid)
    with pytest.raises(NoApiError) as caught:
        _resolved(places)
    assert "python -m local_stack up" in str(caught.value)
    assert "--local" in str(caught.value)
    assert "--url" in str(caught.value)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"url": 1', "\ud800"])
def test_a_torn_state_file_is_absent(places: Path, text: str) -> None:
    """A state file that holds something else is as good as none."""
    stack.state_file().write_bytes(text.encode("utf-8", "surrogatepass"))
    assert stack.running() is None


@pytest.mark.parametrize(
    "url", ["example.org", "ftp://example.org", "https://", "https://u:pw@example.org", "https://x?a=1", "https://x:y"]
)
def test_unusable_urls(places: Path, url: str) -> None:
    """A URL that cannot work is a usage error that does not repeat it: it may hold a password."""
    with pytest.raises(UsageError) as caught:
        _resolved(places, (url, None))
    assert "pw" not in str(caught.value).replace("password", "")


@pytest.mark.parametrize("url", ["localhost:8000", "api.example.org/prod", "10.0.0.1:8000/"])
def test_a_url_without_its_scheme(places: Path, url: str) -> None:
    """What people leave out is named."""
    with pytest.raises(UsageError, match=r"Put https://"):
        _resolved(places, (url, None))


def test_unusable_keys_are_not_shown(places: Path) -> None:
    """A key with a line end is refused before it breaks a header, and is shown nowhere."""
    with pytest.raises(UsageError) as caught:
        _resolved(places, (ENV, "sec\nret"))
    assert "sec" not in str(caught.value)
    assert "secret" not in repr(settings.Settings(ENV, "secret"))
    assert "secret" not in repr(stack.Stack(STACK, "secret"))


def test_unknown_profiles_and_torn_files(places: Path) -> None:
    """A profile that is not there names those that are; an unreadable file is named."""
    _write_profile(places)
    with pytest.raises(UsageError, match="default, other"):
        _resolved(places, profile="missing")
    (places / "config.ini").write_text("no section")
    with pytest.raises(UsageError, match=r"config\.ini"):
        _resolved(places)
