"""A search for hyperparameters without AWS: trials are training jobs, one after the other or beside each other."""
