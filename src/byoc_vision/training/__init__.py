"""The training job: from channels and hyperparameters to an artifact."""
