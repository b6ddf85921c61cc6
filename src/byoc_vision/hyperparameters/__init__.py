"""The hyperparameters: one typed model, read from any client's strings, with all errors in one message."""

from byoc_vision.hyperparameters.model import Hyperparameters
from byoc_vision.hyperparameters.reading import aliases, parse, read, read_raw

__all__ = ["Hyperparameters", "aliases", "parse", "read", "read_raw"]
