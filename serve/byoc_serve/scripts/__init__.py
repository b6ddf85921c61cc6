"""The user's own inference script in service: `model_fn`, `input_fn`, `predict_fn`, `output_fn`, `transform_fn`.

Source: "SageMaker Inference Toolkit", and "Deploy PyTorch Models" in the documentation of the SageMaker Python SDK.
docs/scripts.md is the page for users.
"""
