"""Images in, masks or class probabilities out."""
