"""What a run records of itself: norms and activations, times of each step, the machine; and rules that read it.

settings   how much is recorded
recording  the files, and reading them back
recorder   the interface of a smdebug hook, into our files and into smdebug's where it is installed
clock      where the time of a step goes
system     processor, memory, disk and GPU, twice a second
trace      torch.profiler over a window of steps
monitor    all of these together, as stages of training talk to them
rules/     what goes wrong, with evidence and the mend
"""
