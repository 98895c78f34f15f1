"""The same training as SageMaker jobs: one profiled job, a tuner's jobs, or a whole search inside one job.

    connect -> Aws           credentials, region, clients             session.py
    JobOptions               what a job runs on, and for how long      options.py
    Estimate                 what it costs at most                     cost.py
    upload                   labelled folders -> S3, once              upload.py
    stage_source             our code and what the image lacks         source.py
    estimator                all of it as one `PyTorch` estimator      jobs.py, debugger.py
    one_job, refit           started, followed, brought home           single.py, follow.py, download.py, reports.py
    start, wait, attach      a `HyperparameterTuner` and its results   tuner.py, trials.py

sagemaker and boto3 are imported where they are used: the SDK takes two seconds.
"""
