"""SageMaker's debugger and profiler for a job of ours: what is saved how often, and which rules look at it."""

from __future__ import annotations

import warnings
from typing import Any

from training.monitor.settings import DEBUG_RULES, PROFILE_RULES, Monitoring

from .options import JobOptions
from .source import LAST_WITH_SMDEBUG

SYSTEM_INTERVAL_MS = 500

HOOK_COLLECTIONS = ("weights", "biases", "scalars")
"""Saved beside what the rules ask for; a name that is there too, with other parameters, would be sent twice."""

RULE_COLLECTIONS = {
    "LossNotDecreasing": {"losses": ""},
    "VanishingGradient": {"gradients": ""},
    "DeadRelu": {"relu_output": ".*relu_output|.*ReLU_output"},
    "PoorWeightInitialization": {"relu_input": ".*relu_input|.*ReLU_input"},
    "ClassImbalance": {"classes": ".*labels|.*predictions"},
}
"""Collections by the rule that brings them, each once, with the expression that fills it; Overfit, Overtraining and
ExplodingTensor read the same ones."""

RULE_PARAMETERS = {
    "DeadRelu": {"tensor_regex": ".*relu_output|.*ReLU_output"},
    "PoorWeightInitialization": {"activation_inputs_regex": ".*relu_input|.*ReLU_input"},
    "ClassImbalance": {"labels_regex": ".*labels", "predictions_regex": ".*predictions", "argmax": "False"},
}

FRAMEWORK_RULES = ("Dataloader", "StepOutlier", "MaxInitializationTime")
"""These read framework metrics, which AWS's images no longer write after PyTorch 2.0; our own rules of the same names
run in every job."""

# Names of the SDK's functions that are not the rule's name in lower case.
_FUNCTIONS = {
    "LossNotDecreasing": "loss_not_decreasing",
    "VanishingGradient": "vanishing_gradient",
    "ExplodingTensor": "exploding_tensor",
    "PoorWeightInitialization": "poor_weight_initialization",
    "DeadRelu": "dead_relu",
    "ClassImbalance": "class_imbalance",
}


def settings(options: JobOptions, output: str, monitoring: Monitoring) -> dict[str, Any]:
    """Arguments of the SDK's estimator; `output` is an `s3://` URI. What the options switch off is off for certain.

    SageMaker's hook saves as often as our own recording; where that is off, there is no hook.
    """
    debugged = options.debugger and monitoring.record_interval > 0
    rules = [*(debug_rules(monitoring.record_interval) if debugged else ()), *profiler_rules(options)]
    found: dict[str, Any] = {"debugger_hook_config": False, "disable_profiler": not options.profiler, "rules": rules}
    if debugged:
        found["debugger_hook_config"] = _hook(output, monitoring.record_interval)
    if options.profiler:
        found["profiler_config"] = _profiler(options, output)
    return found


def nothing() -> dict[str, Any]:
    """The same for a tuner's jobs: SageMaker debugs and profiles none of them, and the SDK would drop it in silence."""
    return {"debugger_hook_config": False, "disable_profiler": True, "rules": []}


def left_out(options: JobOptions) -> list[str]:
    """Names of profiler rules that SageMaker cannot run on the image."""
    return [] if not options.profiler or _framework_metrics(options) else list(FRAMEWORK_RULES)


def debug_rules(interval: int) -> list[Any]:
    """`Rule.sagemaker` for each of our debug rules, which save every so many steps."""
    from sagemaker.debugger import Rule, rule_configs

    rules = []
    for name in DEBUG_RULES:
        base = getattr(rule_configs, _FUNCTIONS.get(name, name.lower()))()
        wanted = RULE_COLLECTIONS.get(name, {})
        collections = [_collection(each, interval, expression) for each, expression in wanted.items()]
        parameters = RULE_PARAMETERS.get(name)
        rules.append(Rule.sagemaker(base, rule_parameters=parameters, collections_to_save=collections or None))
    return rules


def profiler_rules(options: JobOptions) -> list[Any]:
    """`ProfilerRule.sagemaker` for each of our profiler rules that the image has metrics for, and the report."""
    if not options.profiler:
        return []
    from sagemaker.debugger import ProfilerRule
    from smdebug_rulesconfig.profiler_rules import rules  # the package itself does not show the one for Dataloader

    names = ["ProfilerReport", *(name for name in PROFILE_RULES if name not in left_out(options))]
    return [ProfilerRule.sagemaker(getattr(rules, name)()) for name in names]


def _hook(output: str, interval: int) -> Any:
    from sagemaker.debugger import DebuggerHookConfig

    collections = [_collection(name, interval) for name in HOOK_COLLECTIONS]
    often = {"save_interval": str(interval)}
    return DebuggerHookConfig(s3_output_path=output, hook_parameters=often, collection_configs=collections)


def _collection(name: str, interval: int, expression: str = "") -> Any:
    from sagemaker.debugger import CollectionConfig

    parameters = {"save_interval": str(interval)} | ({"include_regex": expression} if expression else {})
    return CollectionConfig(name=name, parameters=parameters)


def _profiler(options: JobOptions, output: str) -> Any:
    from sagemaker.debugger import FrameworkProfile, ProfilerConfig

    with warnings.catch_warnings():  # that it ends with PyTorch 2.0, which we heed
        warnings.simplefilter("ignore", DeprecationWarning)
        frameworks = FrameworkProfile() if _framework_metrics(options) else None
        return ProfilerConfig(
            s3_output_path=output,
            system_monitor_interval_millis=SYSTEM_INTERVAL_MS,
            framework_profile_params=frameworks,
        )


def _framework_metrics(options: JobOptions) -> bool:
    return options.framework <= LAST_WITH_SMDEBUG
