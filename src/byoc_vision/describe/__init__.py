"""What this image's jobs take, say and need, in the words of each of SageMaker's clients."""
