"""A model archive as a SageMaker endpoint: made, updated in place behind a gate, described, removed.

    EndpointOptions      what it runs on; an update keeps what it is not told    options.py, kept.py
    hosted               the archive with this checkout's code, in S3            package.py
    model, configuration, endpoint: their requests, and how long they take       endpoint.py, waiting.py
    golden photos through a candidate, and the verdict                           trial.py, invoke.py, gate.py
    autoscaling, and alarms that roll back                                       scaling.py, alarms.py
    deploy               all of it, in order                                     deploy.py, deploy_cli.py
    describe, list, cost, delete                          describe.py, parts.py, idle.py, prices.py, remove.py
    registry, batch transform                                                    registry.py, transform.py

sagemaker and boto3 are imported where they are used: the SDK takes two seconds.
"""
