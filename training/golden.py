"""The golden photos of a model: which are kept, and what it says of them."""

from __future__ import annotations

from itertools import islice, zip_longest

from model_serving.classifier import Classifier, ClassifierError, network

from .data.dataset import Dataset, Example
from .fit import Model


def golden(model: Model, dataset: Dataset, count: int) -> dict[str, bytes]:
    """At most `count` test photos (validation photos where there are none) as files of the archive, by name.

    Of as many classes as there are photos, spread over all; shrunk to what the network sees, upright, without
    metadata. Which they are depends on the folders alone.
    """
    from model_serving import golden as serving

    if not count:
        return {}
    shorter = model.spec.preprocessing.resize
    photos = []
    for example in _spread(dataset, count):
        try:
            body = serving.shrunk(example.path.read_bytes(), shorter)
        except (ClassifierError, OSError):  # with --skip-unreadable it was left out of training, too
            continue
        photos.append((example.name, body, model.spec.classes[example.label].class_id))
    classifier = Classifier(lambda: network.scorer(model.spec, model.state), model.spec)
    return serving.files(serving.record(classifier, photos))


def _spread(dataset: Dataset, count: int) -> list[Example]:
    """The first photo of every class, then the second; of classes that are too many every n-th."""
    examples = dataset.split("test") or dataset.split("valid")
    by_class: dict[int, list[Example]] = {}
    for example in examples:
        by_class.setdefault(example.label, []).append(example)
    labels = sorted(by_class)
    step = max(1, len(labels) / count)
    chosen = [by_class[labels[int(number * step)]] for number in range(int(len(labels) / step))]
    rounds = (example for one in zip_longest(*chosen) for example in one if example is not None)
    return list(islice(rounds, count))
