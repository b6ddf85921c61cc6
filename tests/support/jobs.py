"""Training jobs as tests run them."""

# What takes seconds at the end of a job, and has tests of its own.
QUICK = {"openvino": "false", "report": "false", "tensorboard": "false"}
