"""A model archive as a SageMaker endpoint: made, updated in place behind a gate, described, removed.

    EndpointOptions      what it runs on                                        options.py
    hosted               the archive with this checkout's code, in S3           package.py
    Resources            model, configuration and endpoint, and what AWS says   endpoint.py
    Gate                 golden photos through the new model before traffic     gate.py
    protect, rollback    autoscaling and alarms                                 scaling.py, alarms.py
    deploy               all of it, in order                                    deploy.py, deploy_cli.py

sagemaker and boto3 are imported where they are used: the SDK takes two seconds.
"""
