"""What the report of a run shows, each part from a recording to HTML.

story       what happened when: pauses, end, best epochs
axis        the run's time from left to right
summary     the first screen, in words
findings    what the rules say
timeline    what the run did when
machine     processor, memory, disk and GPUs below it
steps       where the time of a step goes
curves      loss, accuracy, norms and activations
tables      operators, settings, environment
"""
