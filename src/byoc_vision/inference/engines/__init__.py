"""What computes a network: images of the model's size in, logits out. Nothing is imported before it is needed."""
