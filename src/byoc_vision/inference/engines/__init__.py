"""What computes a network: pictures of the model's size in, logits out. Nothing is imported before it is needed."""
