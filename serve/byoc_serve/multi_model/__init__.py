"""Multi-model endpoints: models are loaded, called and unloaded by name while the server runs.

Source: "Build Your Own Container for SageMaker Multi-Model Endpoints" in the SageMaker developer guide.
"""
