"""A job that runs the user's own training script."""
