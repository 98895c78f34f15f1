"""The network a spec describes: shapes, weights that fit, and inference that answers as training would."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from model_serving import defaults
from model_serving.classifier import (
    Calibration,
    Classifier,
    ClassInfo,
    Head,
    ModelSpec,
    SpecError,
    WeightsError,
    network,
    pretrained,
)
from model_serving.classifier.predict import Labels
from tests.photos import sample


@pytest.fixture(scope="module")
def default_model() -> Classifier:
    """The default model with its packaged weights."""
    spec = defaults.default_spec()
    return Classifier(lambda: network.scorer(spec, pretrained.weights("efficientnet_lite0")), spec)


@pytest.mark.parametrize(
    ("photo", "label"),
    [("chelsea.png", "tiger cat"), ("coffee.png", "espresso"), ("rocket.jpg", "missile"), ("camera.png", "tripod")],
)
def test_default_weights_know_what_is_on_a_photo(default_model: Classifier, photo: str, label: str) -> None:
    """Weights, network, preprocessing and labels belong together: one wrong padding or mean and this fails."""
    (result,) = default_model.classify([sample(photo)]).results
    assert isinstance(result, Labels)
    assert result.predictions[0][0].label == label


def test_imagenet_classes() -> None:
    """A thousand different labels with WordNet ids, in the network's order."""
    classes = defaults.imagenet_classes()
    assert len({c.label for c in classes}) == len({c.class_id for c in classes}) == 1000
    by_id = {c.class_id: c.label for c in classes}
    assert (by_id["n02085620"], by_id["n02106662"], by_id["n07920052"]) == ("Chihuahua", "German shepherd", "espresso")


@pytest.mark.parametrize(
    "backbone",
    ["resnet18", "mobilenet_v3_small", "shufflenet_v2_x0_5", "regnet_y_400mf", "densenet121", "convnext_tiny"],
)
def test_optimised_network_answers_the_same(backbone: str) -> None:
    """Folding BatchNorm and channels last change no answer, for backbones of different families."""
    torch.manual_seed(0)
    net = network.build(backbone, Head(), 7)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            nn.init.normal_(module.running_mean)  # type: ignore[arg-type]  # a tensor here
    net.eval()
    photos = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        before = net(photos)
        after = network.optimise(net, 64)(photos)
    assert torch.allclose(before, after, rtol=1e-3, atol=1e-3 * float(before.abs().max()))


def test_folding_takes_batchnorm_out() -> None:
    """The optimisation really happens where modules are registered in their order."""
    net = network.optimise(network.build("resnet18", Head(), 3), 64)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in net.modules())


class Misordered(nn.Module):
    """Registered as convolution, norm; executed as norm, convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3)
        nn.init.constant_(self.norm.bias, 2.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The other way round than registered."""
        y: torch.Tensor = self.conv(self.norm(x))
        return y.mean(dim=(2, 3))


def test_wrong_folding_is_noticed_and_undone() -> None:
    """A network that would answer differently stays as it was."""
    net = network.optimise(Misordered(), 32)
    assert isinstance(net.norm, nn.BatchNorm2d)


@pytest.mark.parametrize(("backbone", "features"), [("resnet18", 512), ("efficientnet_lite0", 1280), ("vit_b_32", 768)])
def test_head_has_the_sizes_of_the_spec(backbone: str, features: int) -> None:
    """2048 -> 512 -> hidden -> classes and its like: every width comes from the spec."""
    net = network.build(backbone, Head((64, 16), 0.3), 5)
    linears = [m for m in net.modules() if type(m) is nn.Linear][-3:]
    assert [(m.in_features, m.out_features) for m in linears] == [(features, 64), (64, 16), (16, 5)]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)][-3:] == [0.3, 0.3, 0.3]


def test_plain_head_takes_torchvision_weights() -> None:
    """Without hidden layers the names are torchvision's own, so its weights load as they are."""
    from torchvision.models import resnet18

    net = network.build("resnet18", Head(), 1000)
    network.load_weights(net, resnet18(weights=None).state_dict())


@pytest.mark.parametrize("backbone", ["resnet19", "squeezenet1_0"])
def test_unusable_backbones_are_refused(backbone: str) -> None:
    """A name that is unknown, or a network without a linear head."""
    with pytest.raises(SpecError, match="backbone"):
        network.build(backbone, Head(), 3)


def test_families_are_available_by_torchvision_name() -> None:
    """The issue's list of families."""
    names = network.backbones()
    for name in (
        "resnet18",
        "resnet152",
        "efficientnet_b0",
        "convnext_tiny",
        "vit_b_16",
        "swin_t",
        "mobilenet_v3_large",
    ):
        assert name in names
    assert {"regnet_y_400mf", "efficientnet_lite0"} <= set(names)


def test_weights_that_do_not_fit_are_named() -> None:
    """The first tensors that differ are in the message."""
    net = network.build("resnet18", Head(), 3)
    state = dict(net.state_dict())
    state["fc.weight"] = torch.zeros(4, 512)
    state["extra"] = state.pop("conv1.weight")
    with pytest.raises(WeightsError) as caught:
        network.load_weights(net, state)
    for part in ("conv1.weight is missing", "extra is not part", "(4, 512) instead of (3, 512)"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "backbone", ["resnet18", "efficientnet_b0", "vgg11", "vit_b_32", "swin_t", "mobilenet_v3_small"]
)
def test_body_and_head_are_the_network(backbone: str) -> None:
    """Taken apart at the head, body then head answer as the whole does, so cached features stand for photos."""
    net = network.build(backbone, Head((16,), 0.2), 3).eval()
    photos = torch.rand(2, 3, 224, 224)
    with torch.inference_mode():
        whole = net(photos)
        head = network.detach_head(net, network.head_name(backbone))
        assert torch.allclose(head(net(photos)), whole, atol=1e-5)


def test_known_score_is_the_cosine_to_the_nearest_class_mean() -> None:
    """Length does not count, direction does; the archive's class means must have the network's width."""
    prototypes = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    features = torch.tensor([[3.0, 0.0], [1.0, 1.0], [-1.0, -1.0]])
    assert torch.allclose(network.similarity(features, prototypes), torch.tensor([1.0, 0.7071, -0.7071]), atol=1e-4)
    calibration = Calibration(known=0.5, known_by="similarity")
    spec = ModelSpec("pets", "resnet18", (ClassInfo("a", "a"), ClassInfo("b", "b")), calibration=calibration)
    state = network.build("resnet18", Head(), 2).state_dict()
    for wrong in ({}, {"prototypes": torch.zeros(2, 100)}):
        with pytest.raises(WeightsError, match=r"\(2, 512\)"):
            network.check(spec, {**state, **wrong})
    network.check(spec, {**state, "prototypes": torch.zeros(2, 512)})


@pytest.mark.parametrize("backbone", ["mnasnet0_5", "regnet_y_400mf", "shufflenet_v2_x0_5"])
def test_weights_of_every_family_come_back(backbone: str) -> None:
    """MNASNet wants a version beside its tensors, RegNet computes its widths: an archive holds plain tensors only."""
    spec = ModelSpec("pets", backbone, (ClassInfo("a", "a"), ClassInfo("b", "b")))
    torch.manual_seed(0)
    net = network.build(backbone, Head(), 2).eval()
    photos = torch.rand(1, 3, 224, 224)
    scorer = network.scorer(spec, {name: value.clone() for name, value in net.state_dict().items()})
    with torch.inference_mode():
        assert torch.allclose(scorer(photos)[0], net(photos), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("backbone", ["googlenet", "inception_v3"])
def test_inception_sees_what_its_weights_were_made_for(backbone: str) -> None:
    """Torchvision turns ImageNet's means into halves inside these two, if it makes them with weights; so do we."""
    net = network.skeleton(backbone, Head(), 2)
    assert getattr(net, "transform_input") is True  # noqa: B009  # mypy takes attributes of modules for tensors
    state = {name: torch.ones(1) for name in ("AuxLogits.fc.weight", "aux1.conv.weight", "fc.bias")}
    assert list(network.backbone_weights(state)) == ["fc.bias"]
