"""smdebug beside our own recorder, where it is installed: `smdebug.trials.create_trial` then reads the run as well.

Its hook is not hung into the network: a step of ours may have several passes, each of which would count as a step, and
a backbone would be saved whole. Its methods are called with the head instead, once a step.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

COLLECTIONS = ("losses", "gradients", "weights", "biases", "scalars")
TENSORS = ("relu_input", "relu_output", "labels", "predictions")
"""Parts of the names of tensors beside them, by which SageMaker's rules DeadRelu and the like find them."""

LOSS = "CrossEntropyLoss"
"""Under a name with "loss" in it smdebug's collection of losses finds it; the rules of SageMaker look there."""


class SmdebugHook:
    """A smdebug hook that never ends a run: what it cannot do is said once, and it is let go."""

    def __init__(self, hook: Any, modes: Any, say: Callable[[str], None]) -> None:
        self._hook: Any = hook
        self._modes, self._say = modes, say

    @classmethod
    def create(cls, folder: Path, interval: int, say: Callable[[str], None]) -> SmdebugHook | None:
        """By SageMaker's configuration file in a job, else into a new folder; None where smdebug is not installed."""
        try:
            os.environ.setdefault("SMDEBUG_LOG_LEVEL", "warning")  # it is read on import
            import smdebug.pytorch as smd
            from smdebug.core.config_constants import CONFIG_FILE_PATH_ENV_STR, DEFAULT_CONFIG_FILE_PATH
        except ImportError:
            return None
        try:
            configured = os.environ.get(CONFIG_FILE_PATH_ENV_STR, DEFAULT_CONFIG_FILE_PATH)
            if os.path.isfile(configured):
                hook = smd.Hook.create_from_json_file()
            else:
                every = {smd.modes.TRAIN: interval, smd.modes.EVAL: 1}
                save = smd.SaveConfig({mode: smd.SaveConfigMode(save_interval=n) for mode, n in every.items()})
                hook = smd.Hook(
                    str(_free(folder)),
                    save_config=save,
                    include_collections=list(COLLECTIONS),
                    include_regex=[f".*{name}" for name in TENSORS],
                )
        except Exception as error:  # a frozen library on a newer torch may raise anything
            say(f"note: smdebug is installed but cannot be used ({error}); the run is recorded without it")
            return None
        return cls(hook, smd.modes, say)

    def begin_step(self, mode: str, module: nn.Module) -> None:
        """A step of TRAIN or EVAL; weights are saved if it is its turn."""
        module._module_name = type(module).__name__  # type: ignore[assignment]  # what registering would have set
        self._try(lambda hook: (hook.set_mode(self._modes[mode]), hook.forward_pre_hook(module, ())))

    def end_step(
        self, mode: str, module: nn.Module, values: Mapping[str, float], tensors: Mapping[str, torch.Tensor]
    ) -> None:
        """Gradients of the head, loss and scalars of the step, and tensors by name."""
        self._try(lambda hook: self._save(hook, mode, module, values, tensors))

    def close(self) -> None:
        """Write what is left."""
        self._try(lambda hook: hook.close())

    def _save(
        self, hook: Any, mode: str, module: nn.Module, values: Mapping[str, float], tensors: Mapping[str, torch.Tensor]
    ) -> None:
        if mode == "TRAIN":
            for name, parameter in module.named_parameters():
                if parameter.grad is not None:
                    hook.backward_hook(f"{type(module).__name__}_{name}")(parameter.grad)
        if "loss" in values:
            hook.record_tensor_value(LOSS, torch.tensor(values["loss"]))
        for name, tensor in tensors.items():
            hook.record_tensor_value(name, tensor)
        for name in ("accuracy", "learning_rate"):
            if name in values:
                hook.save_scalar(name, values[name], sm_metric=False)

    def _try(self, call: Callable[[Any], Any]) -> None:
        if self._hook is None:
            return
        try:
            call(self._hook)
        except Exception as error:  # see create
            self._hook = None
            self._say(f"note: smdebug stopped recording ({error}); the run goes on without it")


def _free(folder: Path) -> Path:
    """smdebug wants a folder that is not there."""
    number, free = 1, folder
    while free.exists():
        number += 1
        free = folder.with_name(f"{folder.name}-{number}")
    return free
