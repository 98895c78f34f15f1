"""The network that `model.json` describes: any torchvision classifier by name, or `efficientnet_lite0`.

Weights never come from here: an archive brings its own. Only the shapes do.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision import models
from torchvision.ops.misc import Conv2dNormActivation

from .errors import SpecError, WeightsError
from .spec import Head, ModelSpec

LITE0 = "efficientnet_lite0"


class SameConv2d(nn.Conv2d):
    """Convolution with TensorFlow's SAME padding: the output is ceil(input / stride), the odd pixel goes last."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) -> (N, C', ceil(H / stride), ceil(W / stride))."""
        pads: list[int] = []
        for axis in (1, 0):
            side, kernel, stride = input.shape[2 + axis], self.kernel_size[axis], self.stride[axis]
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return functional.conv2d(
            functional.pad(input, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
        )


_NORM = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


def _unit(cin: int, cout: int, kernel: int = 1, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU6; strided ones pad as TensorFlow does, which PyTorch cannot express."""
    norm = _NORM(cout)
    if stride == 1:
        relu6 = nn.ReLU6 if act else None
        unit: nn.Sequential = Conv2dNormActivation(
            cin, cout, kernel, groups=groups, norm_layer=lambda _: norm, activation_layer=relu6
        )
        return unit
    conv = SameConv2d(cin, cout, kernel, stride, groups=groups, bias=False)
    return nn.Sequential(conv, norm, nn.ReLU6(inplace=True))


class MBConv(nn.Module):
    """Inverted residual without squeeze-and-excitation, as in EfficientNet-Lite."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        mid = cin * expand
        units = [_unit(cin, mid)] if expand > 1 else []
        units += [_unit(mid, mid, kernel, stride, groups=mid), _unit(mid, cout, act=False)]
        self.block = nn.Sequential(*units)
        self.residual = stride == 1 and cin == cout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(N, cin, H, W) -> (N, cout, ceil(H / stride), ceil(W / stride))."""
        y: torch.Tensor = self.block(x)
        return x + y if self.residual else y


_LITE0_STAGES = (
    # expand, channels, blocks, stride, kernel: EfficientNet-B0 with fixed stem and head (tpu/efficientnet/lite)
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)


def _lite0_blocks() -> Iterator[nn.Module]:
    cin = 32
    for expand, channels, blocks, stride, kernel in _LITE0_STAGES:
        for i in range(blocks):
            yield MBConv(cin, channels, kernel, stride if i == 0 else 1, expand)
            cin = channels


def efficientnet_lite0(num_classes: int = 1000) -> nn.Module:
    """EfficientNet-Lite0: 4.65 million parameters, 1,280 features, no operation that phones lack."""
    return nn.Sequential(
        OrderedDict(
            stem=_unit(3, 32, 3, stride=2),
            blocks=nn.Sequential(*_lite0_blocks()),
            top=_unit(320, 1280),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            fc=nn.Linear(1280, num_classes),
        )
    )


def backbones() -> list[str]:
    """Names that `build` takes: `efficientnet_lite0` and torchvision's classification models."""
    return [LITE0, *sorted(models.list_models(module=models))]


def build(backbone: str, head: Head, num_classes: int) -> nn.Module:
    """An untrained network with `num_classes` outputs, in training mode.

    SpecError for a backbone that is not in `backbones()` or has no linear layer to replace.
    """
    network = _backbone(backbone)
    name, last = _last_linear(network)
    _replace(network, name, make_head(last.in_features, head, num_classes))
    return network


def head_name(backbone: str) -> str:
    """Where the head is in the network's names: `fc` of a ResNet, `classifier.1` of an EfficientNet."""
    return _last_linear(skeleton(backbone, Head(), 1))[0]


def skeleton(backbone: str, head: Head, num_classes: int) -> nn.Module:
    """`build` for its names and shapes alone: no memory for weights, unless the network works its shapes out."""
    try:
        with torch.device("meta"):
            return build(backbone, head, num_classes)
    except (NotImplementedError, RuntimeError):  # RegNet works its widths out with tensors
        return build(backbone, head, num_classes)


def detach_head(network: nn.Module, name: str) -> nn.Module:
    """Take the head at `name` out of the network, which from then on answers the features (N, F) it was fed."""
    head = network.get_submodule(name)
    _replace(network, name, nn.Identity())
    return head


def _replace(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(network.get_submodule(parent), leaf, module)


def _backbone(backbone: str) -> nn.Module:
    if backbone not in backbones():
        raise SpecError(f"backbone: {backbone!r} is unknown; take a torchvision name (resnet152, …) or {LITE0}")
    return efficientnet_lite0() if backbone == LITE0 else _torchvision(backbone)


def _torchvision(backbone: str) -> nn.Module:
    """Without weights. GoogLeNet and Inception as torchvision makes them with weights, which were made for other
    means, and without the extra outputs that only training from scratch uses.
    """
    make: Callable[..., nn.Module] = partial(models.get_model, backbone, weights=None)
    if backbone in ("googlenet", "inception_v3"):
        return make(aux_logits=False, init_weights=True, transform_input=True)
    return make()


def _last_linear(network: nn.Module) -> tuple[str, nn.Linear]:
    linears = [(name, module) for name, module in network.named_modules() if type(module) is nn.Linear]
    if not linears:
        raise SpecError("backbone: it ends in no linear layer (squeezenet), so it has no head to replace")
    return linears[-1]


def make_head(features: int, head: Head, num_classes: int) -> nn.Module:
    """Linear, or Sequential of [Dropout, Linear, ReLU] per hidden layer and a last [Dropout, Linear]."""
    layers: list[nn.Module] = []
    for width in (*head.hidden, num_classes):
        if head.dropout:
            layers.append(nn.Dropout(head.dropout))
        layers += [nn.Linear(features, width), nn.ReLU(inplace=True)]
        features = width
    layers.pop()
    return layers[0] if len(layers) == 1 else nn.Sequential(*layers)


def load_weights(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy `state` into `network`; WeightsError names what is missing, unexpected or of another shape."""
    _check_weights(network, state)
    complete = OrderedDict(state)
    # A module's own version numbers, which MNASNet refuses to load without; a plain dict of tensors has none.
    complete._metadata = network.state_dict()._metadata  # type: ignore[attr-defined]
    network.load_state_dict(complete, strict=False)


def _check_weights(network: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    own = network.state_dict()
    problems = [f"{key} is missing" for key in own if key not in state and "num_batches" not in key]
    problems += [f"{key} is not part of the network" for key in state if key not in own]
    problems += [
        f"{key} has shape {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own
        if key in state and state[key].shape != own[key].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(f"the weights do not fit the network: {'; '.join(problems[:3])}{more}")


PROTOTYPES = "prototypes"
"""Name of the class means among the weights of an archive; (classes, F), each of length 1."""


class Scorer(nn.Module):
    """A network that also says how much a photo is like any of its classes.

    `known` is the cosine between the photo's features and the nearest row of `prototypes`, the class means of
    the training photos. On dogs against cats, wild canines and things it separates better than energy, the largest
    logit and Mahalanobis distance do (docs/training.md), for one small matrix product.
    """

    prototypes: torch.Tensor | None

    def __init__(self, body: nn.Module, head: nn.Module, prototypes: torch.Tensor | None = None) -> None:
        super().__init__()
        self.body, self.head = body, head
        self.register_buffer(PROTOTYPES, prototypes)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(N, 3, H, W) -> logits (N, classes), and known scores (N,) where there are prototypes."""
        features = self.body(x)
        known = None if self.prototypes is None else similarity(features, self.prototypes)
        return self.head(features), known


def similarity(features: torch.Tensor, prototypes: torch.Tensor) -> torch.Tensor:
    """Features (N, F), prototypes (C, F) of length 1 -> the largest cosine (N,), from -1 to 1."""
    return (functional.normalize(features.float(), dim=1) @ prototypes.T).amax(dim=1)


def check(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> None:
    """WeightsError unless the weights are those of the network that `spec` describes; computes nothing."""
    network = skeleton(spec.backbone, spec.head, len(spec.classes))
    _check_weights(network, _without_prototypes(state))
    if spec.calibration.known_by == "similarity":
        head = network.get_submodule(head_name(spec.backbone))
        features = next(m for m in head.modules() if isinstance(m, nn.Linear)).in_features
        wanted, found = (len(spec.classes), features), state.get(PROTOTYPES)
        if found is None or tuple(found.shape) != wanted:
            raise WeightsError(f"calibration.known_by needs class means of shape {wanted} as {PROTOTYPES!r}")


def scorer(spec: ModelSpec, state: Mapping[str, torch.Tensor]) -> Scorer:
    """The network of an archive with its weights, ready for inference; WeightsError where they do not fit."""
    check(spec, state)
    prototypes = state.get(PROTOTYPES)
    network = build(spec.backbone, spec.head, len(spec.classes))
    load_weights(network, _without_prototypes(state))
    del state  # a second copy of all weights, not needed while the network is worked on
    network = optimise(network, spec.preprocessing.crop)
    return Scorer(network, detach_head(network, head_name(spec.backbone)), prototypes)


def backbone_weights(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state_dict without what no backbone here has: extra outputs of GoogLeNet and Inception, class means."""
    foreign = ("aux1.", "aux2.", "AuxLogits.", PROTOTYPES)
    return {key: value for key, value in state.items() if not key.startswith(foreign)}


def _without_prototypes(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if key != PROTOTYPES}


def optimise(network: nn.Module, crop: int) -> nn.Module:
    """The same network for inference: eval mode, BatchNorm folded into convolutions, channels last.

    Folding follows the order in which modules were registered, which is nearly always the order of execution;
    a random photo proves it, and the unfolded network is kept where the answers differ.
    """
    network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    probe = torch.rand(1, 3, crop, crop).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        expected = network(probe)
    pairs = list(_conv_norm_pairs(network))
    originals = [(parent, name, getattr(parent, name)) for parent, *names in pairs for name in names]
    for parent, conv, norm in pairs:
        setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
        setattr(parent, norm, nn.Identity())
    with torch.inference_mode():
        same = torch.allclose(network(probe), expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max()))
    if not same:
        for parent, name, module in originals:
            setattr(parent, name, module)
    return network


def _conv_norm_pairs(network: nn.Module) -> Iterator[tuple[nn.Module, str, str]]:
    """(parent, convolution's name, BatchNorm's name) for neighbours of fitting width."""
    for parent in network.modules():
        children = list(parent.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            neighbours = isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)
            if neighbours and conv.out_channels == norm.num_features:
                yield parent, conv_name, norm_name
