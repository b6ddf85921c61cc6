"""Where the course of a job is told beside the log: TensorBoard and MLflow."""
