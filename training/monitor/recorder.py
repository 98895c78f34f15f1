"""Loss, norms and activations at saved steps, by the interface of a smdebug hook.

recorder = Recorder("head", 10, write)
recorder.register_module(head)
recorder.set_mode(TRAIN)
for ...:
    recorder.begin_step(epoch)
    ... forward, backward, step ...
    recorder.save_scalar("loss", loss)
    recorder.end_step()
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .recording import EVAL, TRAIN, Scalars
from .smdebug_hook import SmdebugHook


@dataclass
class _Seen:
    """What a layer put out during one step, which may have several passes."""

    numbers: int = 0
    total: float = 0.0
    squares: float = 0.0
    zeros: int = 0
    alive: torch.Tensor | None = None
    """(units,) whether a unit was ever above zero; for a ReLU."""

    def add(self, output: torch.Tensor, *, relu: bool) -> None:
        output = output.detach().float()
        self.numbers += output.numel()
        self.total += output.sum().item()
        self.squares += output.square().sum().item()
        if relu:
            positive = (output > 0).reshape(-1, output.shape[-1])
            self.zeros += output.numel() - int(positive.sum())
            alive = positive.any(dim=0)
            self.alive = alive if self.alive is None else self.alive | alive

    def values(self, name: str) -> dict[str, float]:
        mean = self.total / self.numbers
        spread = self.squares / self.numbers - mean * mean
        found = {
            f"activation_mean/{name}": mean,
            f"activation_std/{name}": spread if math.isnan(spread) else math.sqrt(max(spread, 0.0)),
        }
        if self.alive is not None:
            found[f"zeros/{name}"] = self.zeros / self.numbers
            found[f"dead_units/{name}"] = 1 - self.alive.float().mean().item()
        return found


class Recorder:
    """Records one stage of training. Nothing is looked at on steps that are not saved."""

    def __init__(
        self, stage: str, interval: int, write: Callable[[Scalars], None], smdebug: SmdebugHook | None = None
    ) -> None:
        """`write` gets each record; interval 0 records nothing. What is recorded goes to `smdebug` as well."""
        self._stage, self._interval, self._write, self._smdebug = stage, interval, write, smdebug
        self._module: nn.Module | None = None
        self._groups: dict[str, list[nn.Parameter]] = {}
        self._seen: dict[str, _Seen] = {}
        self._values: dict[str, float] = {}
        self._tensors: dict[str, list[torch.Tensor]] = {}
        self._mode, self._epoch, self.step = TRAIN, 0, 0
        self._due = False

    @property
    def saving(self) -> bool:
        """Whether the step that has begun is one that is saved, here or by smdebug, which counts by itself."""
        return self._due or self._smdebug is not None

    def register_module(self, module: nn.Module, prefix: str = "") -> None:
        """Watch the layers of a head and its weights; `prefix` goes before their names."""
        if not self._interval:
            return
        self._module = module
        for name, parameter in module.named_parameters(prefix):
            if parameter.requires_grad:
                self.register_parameters(name, [parameter])
        for name, layer in module.named_modules(prefix=prefix):
            if isinstance(layer, (nn.Linear, nn.ReLU)):
                layer.register_forward_hook(self._watcher(name or type(layer).__name__, isinstance(layer, nn.ReLU)))
            if isinstance(layer, nn.ReLU) and self._smdebug:
                # Before it: an inplace one overwrites what it is given.
                layer.register_forward_pre_hook(self._keeper(f"{name}.relu_input"))

    def register_parameters(self, name: str, parameters: Iterable[nn.Parameter]) -> None:
        """Watch the norm of these weights together, as those of a stage of the backbone."""
        if self._interval:
            self._groups[name] = list(parameters)

    def register_loss(self, loss: nn.Module) -> None:
        """Save what the module returns as `loss`."""
        loss.register_forward_hook(lambda _module, _inputs, output: self.save_scalar("loss", output))

    def set_mode(self, mode: str) -> None:
        """TRAIN or EVAL, for what is saved from now on."""
        self._mode = mode

    def begin_step(self, epoch: int, step: int | None = None) -> None:
        """The next step of the mode begins; validation belongs to the last step of training."""
        self._epoch = epoch
        if self._mode == TRAIN:
            self.step = self.step + 1 if step is None else step
        self._values, self._seen, self._tensors = {}, {}, {}
        due = self._mode == EVAL or self.step == 1 or self.step % (self._interval or 1) == 0
        self._due = bool(self._interval) and due
        if self._smdebug and self._module is not None:
            self._smdebug.begin_step(self._mode, self._module)

    def save_scalar(self, name: str, value: Any) -> None:
        """A number or a tensor of one element under a name of its own."""
        if self.saving:
            self._values[name] = float(value)

    def record_tensor_value(self, name: str, value: torch.Tensor) -> None:
        """Mean and spread of a tensor."""
        if self._due:
            seen = _Seen()
            seen.add(value, relu=False)
            self._values |= seen.values(name)

    def keep(self, name: str, value: torch.Tensor) -> None:
        """Rows of a tensor for smdebug alone, as SageMaker's rules look for it by its name; passes of a step add up."""
        if self._smdebug and self._mode == TRAIN:
            value = value.detach().clone()
            # NumPy, by which smdebug writes, has no bfloat16.
            self._tensors.setdefault(name, []).append(value.float() if value.is_floating_point() else value)

    def end_step(self) -> None:
        """The step is over, its gradients still there: a saved one is written."""
        if self._smdebug and self._module is not None:
            tensors = {name: torch.cat(parts) for name, parts in self._tensors.items()}
            self._smdebug.end_step(self._mode, self._module, self._values, tensors)
        if not self._due:
            return
        if self._mode == TRAIN:
            self._values |= self._norms()
            for name, seen in self._seen.items():
                self._values |= seen.values(name)
        self._due = False
        self._write(Scalars(time.time(), self._stage, self._mode, self._epoch, self.step, self._values))

    def _watcher(self, name: str, relu: bool) -> Callable[..., None]:
        def look(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            if relu:
                self.keep(f"{name}.relu_output", output)
            if self._due and self._mode == TRAIN:
                self._seen.setdefault(name, _Seen()).add(output, relu=relu)

        return look

    def _keeper(self, name: str) -> Callable[..., None]:
        return lambda _module, inputs: self.keep(name, inputs[0])

    def _norms(self) -> dict[str, float]:
        """Norms of weights and gradients, one by one and of all together; one wait for the GPU in all."""
        weights = [[p.detach() for p in group] for group in self._groups.values()]
        gradients = [[p.grad for p in group if p.grad is not None] for group in self._groups.values()]
        if not weights:
            return {}
        found: dict[str, float] = {}
        sums = _square_sums([*gradients, *weights])
        for kind, part in (("gradient_norm", sums[: len(weights)]), ("weight_norm", sums[len(weights) :])):
            found[kind] = math.sqrt(sum(part))
            found |= {f"{kind}/{name}": math.sqrt(square) for name, square in zip(self._groups, part, strict=True)}
        return found


def _square_sums(groups: Sequence[Sequence[torch.Tensor]]) -> list[float]:
    """The sum of squares of each group's numbers, by one call for all: group by group takes a GPU twice as long."""
    norms = torch._foreach_norm([tensor for group in groups for tensor in group])
    squares = torch.stack(norms).double().square().tolist()
    ends = itertools.accumulate(len(group) for group in groups)
    return [sum(squares[end - len(group) : end]) for group, end in zip(groups, ends, strict=True)]
