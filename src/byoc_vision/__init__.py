"""Trains and serves segmentation and classification models, on SageMaker and anywhere else."""

__version__ = "0.1.0"
