"""Which hyperparameters are best, on validation photos alone."""
