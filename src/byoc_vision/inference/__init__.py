"""Pictures in, masks or class probabilities out."""
