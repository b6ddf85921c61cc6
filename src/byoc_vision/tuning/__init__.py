"""A search for hyperparameters without AWS: trials are training jobs, run one after another or in parallel."""
