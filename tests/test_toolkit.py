"""The archive under AWS's own handler and Transformer (sagemaker-pytorch-inference), from both of its homes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.photos import jpeg, save


@pytest.mark.parametrize("home", ["unpacked archive", "repository"])
def test_hooks_under_the_real_toolkit(home: str, unpacked: Path, tmp_path: Path) -> None:
    """Labels for a photo, many photos in one request, and a bad image keeps its 4xx without a traceback."""
    pytest.importorskip("sagemaker_pytorch_serving_container", reason="sagemaker-pytorch-inference is not installed")
    homes = {"unpacked archive": ("inference", unpacked / "code"), "repository": ("model_serving.inference", ROOT)}
    program, path = homes[home]
    photo = save(tmp_path, "photo.jpg", jpeg())
    host = ROOT / "tests" / "toolkit_host.py"
    command = [sys.executable, "-I", str(host), str(unpacked), program, str(path), str(photo)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout.splitlines()[-1])
    assert [status for status, _, _ in answers] == [200, 415, 400, 200, 400, 200]
    assert {content_type for _, content_type, _ in answers} == {"application/json"}
    assert not [text for _, _, text in answers if "Traceback" in text]
    one, text, half, many, _, untyped = (json.loads(body) for _, _, body in answers)
    assert one["predictions"][0]["label"] == untyped["predictions"][0]["label"] == "espresso"
    assert [len(one["predictions"]), len(untyped["predictions"])] == [3, 5]
    assert [text["error"]["code"], half["error"]["code"]] == ["unsupported_media_type", "bad_image"]
    good, bad = many["results"]
    assert good["predictions"][0]["label"] == "espresso"
    assert bad["error"]["status"] == 415
