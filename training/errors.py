"""What can go wrong between labelled folders and an archive; each message is the fact plus the mend.

    TrainingError        ends a command with one message and exit code 1
    ├── DataError        the photos or their folders would spoil training; the message names them
    ├── ConfigError      a hyperparameter or option is wrong; the message names it
    ├── DivergedError    the loss is no number any more
    └── FetchError       a download failed or is not what was asked for

Errors of a model, its weights or a photo are in `model_serving.classifier.errors`.
"""

from __future__ import annotations


class TrainingError(Exception):
    """Base of all expected errors of this package."""


class DataError(TrainingError):
    """Labelled folders that cannot be trained or evaluated on."""


class ConfigError(TrainingError):
    """A configuration value that is unknown or out of range."""


class DivergedError(TrainingError):
    """Training whose weights have grown beyond all numbers."""


class FetchError(TrainingError):
    """A download that failed, or whose content is not what was expected."""
