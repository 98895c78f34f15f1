"""`python -m training fit | launch | attach | tune | report | evaluate | data …`: parse, call one function, print."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .aws.account import Account
from .aws.options import JobOptions
from .config import TrainingConfig
from .data.cli import app as data_app
from .flags import with_settings
from .monitor.settings import Monitoring
from .search.options import SearchOptions

app = typer.Typer(help="From labelled folders to a calibrated model archive.", no_args_is_help=True)
app.add_typer(data_app, name="data")

SplitFile = Annotated[Path | None, typer.Option(help="A split.json that says which photo is in which split.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of a split that has to be made.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of features that were computed before.")]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Neither use nor keep features.")]


def main() -> None:
    """Run the command line; expected errors are one message and exit 1."""
    from .errors import TrainingError
    from .monitor.quiet import hush

    hush()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        app()
    except TrainingError as error:
        fail(error)
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        # Errors of model_serving live beside torch, which is only imported once a command has needed it.
        if type(error).__module__ in ("model_serving.classifier.errors", "model_serving.errors"):
            fail(error)
        raise


def fail(error: Exception) -> None:
    """Print the message and exit 1; under torchrun each process says which one it is."""
    rank = os.environ.get("RANK", "0")
    typer.echo(f"error: {'' if rank == '0' else f'(process {rank}) '}{error}", err=True)
    sys.exit(1)


@app.command()
@with_settings(hyperparameters=TrainingConfig, monitoring=Monitoring)
def fit(
    hyperparameters: dict[str, Any],
    monitoring: dict[str, Any],
    data: Annotated[Path, typer.Option(help="Folder with train/ valid/ test/, or with one folder a class.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where model.tar.gz and the rest goes.")] = Path("run"),
    name: Annotated[str | None, typer.Option(help="Name of the model; by default of folder and backbone.")] = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    cache: Cache = None,
    no_cache: NoCache = False,
    checkpoints: Annotated[Path | None, typer.Option(help="What a killed run goes on from; in --output.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Write scalars for TensorBoard to this folder.")] = None,
    hyperparameters_file: Annotated[
        Path | None, typer.Option("--hyperparameters", help="JSON of hyperparameters, as best.json of a search.")
    ] = None,
) -> None:
    """Train a classifier on labelled folders and pack it.

    python -m training fit --data ./dogImages --output ./run
    """
    from .data import layout
    from .run import Place, model_name, run
    from .search.best import read

    known = read(hyperparameters_file) if hyperparameters_file else {}
    settings = TrainingConfig.from_texts(known | hyperparameters)
    dataset = layout.load(data, seed=split_seed, split_file=split_file)
    title = name or model_name(data, settings)
    place = Place(output, cache, checkpoints, tensorboard, keep_features=not no_cache)
    run(dataset, settings, title, place, Monitoring.from_texts(monitoring))


@app.command()
@with_settings(hyperparameters=TrainingConfig, recording=Monitoring, options=JobOptions)
def launch(
    hyperparameters: dict[str, Any],
    recording: dict[str, Any],
    options: dict[str, Any],
    data: Annotated[str, typer.Option(help="Folder with train/ valid/ test/, or with one folder a class; or s3://….")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where model.tar.gz and the rest goes.")] = Path("run"),
    name: Annotated[str, typer.Option(help="Name of the job and the model; by default of the backbone.")] = "",
    hyperparameters_file: Annotated[
        Path | None, typer.Option("--hyperparameters", help="JSON of hyperparameters, as best.json of a search.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the job once it has started.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; print the request as JSON, the rest on standard error.")
    ] = False,
    register: Annotated[str, typer.Option(help="Group of SageMaker's registry that the model is put into.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before the job is paid for.")] = False,
) -> None:
    """Train as one SageMaker job, and bring the checked model home.

    python -m training launch --data ./dogImages --role ARN --spot --output ./run
    """
    from .aws import command
    from .search.best import read

    known = read(hyperparameters_file) if hyperparameters_file else {}
    request = command.Request(known | hyperparameters, recording, options, data, output, name, register)
    if dry_run:
        typer.echo(json.dumps(command.dry_run(request, lambda line: typer.echo(line, err=True)), indent=1))
        return
    command.run(request, typer.echo, lambda: yes or typer.confirm("start?", err=True), detach=detach)


@app.command()
@with_settings(account=Account)
def attach(
    account: dict[str, Any],
    name: Annotated[str, typer.Argument(help="A job, or a tuner, that was started before.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Where its results go.")] = Path("run"),
    register: Annotated[str, typer.Option(help="Group of SageMaker's registry that the model is put into.")] = "",
) -> None:
    """Follow a job to its end and bring its checked model home; of a tuner, what it has found so far.

    python -m training attach whippet-resnet152-261125-0941-3fa9 --output ./run
    """
    from .aws import command

    command.attach(name, account, output, typer.echo, register=register)


@app.command()
@with_settings(hyperparameters=TrainingConfig, options=SearchOptions, recording=Monitoring, job=JobOptions)
def tune(
    hyperparameters: dict[str, Any],
    options: dict[str, Any],
    recording: dict[str, Any],
    job: dict[str, Any],
    data: Annotated[
        str | None, typer.Option(help="Folder with train/ valid/, or with one folder a class; s3://… for SageMaker.")
    ] = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where best.json, trials.csv and report.html go.")
    ] = Path("search"),
    storage: Annotated[
        str | None, typer.Option(help="Where trials are kept: a file, one.journal or a database's URL.")
    ] = None,
    split_file: SplitFile = None,
    split_seed: SplitSeed = 0,
    cache: Cache = None,
    no_cache: NoCache = False,
    refit: Annotated[bool, typer.Option("--refit", help="Train and pack the model of the winner, too.")] = False,
    sagemaker: Annotated[
        bool, typer.Option("--sagemaker", help="As jobs of a SageMaker tuner.", rich_help_panel=JobOptions.PANEL)
    ] = False,
    one_job: Annotated[
        bool,
        typer.Option("--one-job", help="As one SageMaker job that searches.", rich_help_panel=JobOptions.PANEL),
    ] = False,
    attach: Annotated[
        str | None, typer.Option(help="Results of a tuner or job started before.", rich_help_panel=JobOptions.PANEL)
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask before jobs are paid for.", rich_help_panel=JobOptions.PANEL)
    ] = False,
) -> None:
    """Search for the best hyperparameters on validation photos; a hyperparameter that is given is not searched.

    python -m training tune --data ./dogImages --trials 20 --output ./search
    """
    from .errors import ConfigError
    from .search import command

    request = command.Request(hyperparameters, options, recording, output, refit)

    def confirm() -> bool:
        return yes or typer.confirm("start?", err=True)

    here = {
        "storage": storage,
        "split-file": split_file,
        "split-seed": split_seed,
        "cache": cache,
        "no-cache": no_cache,
    }
    if (attach or sagemaker or one_job) and (idle := next((name for name, value in here.items() if value), None)):
        raise ConfigError(f"{idle} is for a search on this machine. Leave it out; a split goes as train/ valid/ test/.")
    if attach:
        command.attach(attach, request, data, job, typer.echo, confirm)
    elif data is None:
        raise ConfigError("data: give the photos by --data DIR.")
    elif sagemaker or one_job:
        command.on_sagemaker(request, data, job, typer.echo, confirm, one_job=one_job)
    elif job:
        raise ConfigError(f"{next(iter(job))} is for SageMaker. Add --sagemaker or --one-job.")
    else:
        from .cache import default_folder

        features = None if no_cache else cache or default_folder()
        command.here(request, Path(data), storage, features, {"seed": split_seed, "split_file": split_file})


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Folder that fit wrote to, or its recording.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The HTML file; recording.html in RUN.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what the rules found instead.")] = False,
) -> None:
    """Where did the time of a run go, and what went wrong? Rules with evidence, and one HTML page.

    python -m training report ./run
    """
    from .monitor.show import lines, show

    recording, findings, written = show(run, None if as_json else output or run / "recording.html")
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=1))
        return
    for line in lines(recording, findings):
        typer.echo(line)
    typer.echo(str(written))


@app.command()
def evaluate(
    model: Annotated[Path, typer.Option(help="A model.tar.gz.")],
    data: Annotated[Path, typer.Option(help="Folder with test/, or with one folder a class.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for metrics.json and report.html.")
    ] = None,
    unknown: Annotated[Path | None, typer.Option(help="Photos of none of the classes: how many are told?")] = None,
    split_file: Annotated[Path | None, typer.Option(help="A split.json; its test photos are taken.")] = None,
    skip_unreadable: Annotated[bool, typer.Option("--skip-unreadable", help="Leave out what cannot be read.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print metrics.json instead of a summary.")] = False,
) -> None:
    """How good is this archive on these photos? A summary, metrics.json and one HTML report.

    python -m training evaluate --model run/model.tar.gz --data ./dogImages --output ./report
    """
    from .assess import assess, lines

    metrics, written = assess(
        model, data, output, unknown=unknown, split_file=split_file, skip_unreadable=skip_unreadable
    )
    if as_json:
        typer.echo(json.dumps(metrics, indent=1))
        return
    for line in lines(metrics):
        typer.echo(line)
    for path in written:
        typer.echo(str(path))
