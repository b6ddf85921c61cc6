"""The HTTP server of SageMaker's hosting contract: /ping, /invocations, /execution-parameters."""
