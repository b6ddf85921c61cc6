"""What follows a training: it measures, writes, judges; it does not change what is learned."""
