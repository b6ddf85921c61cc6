"""What a training process or a server imports sooner or later, imported once: see forked.py."""

import pytest  # noqa: F401  # multiprocessing has each process import the program that asked for it
import segmentation_models_pytorch  # noqa: F401
import timm  # noqa: F401

import byoc_serve.run
import byoc_serve.wsgi  # noqa: F401
import byoc_vision.evaluation.metrics
import byoc_vision.launch.agent
import byoc_vision.training.build
import byoc_vision.training.trainer  # noqa: F401
from byoc_vision.data.albumentations_files import import_albumentations

import_albumentations()
