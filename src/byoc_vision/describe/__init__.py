"""The hyperparameters, metrics and instance types of this image's jobs, in the format of each SageMaker client."""
