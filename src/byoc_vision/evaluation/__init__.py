"""How good a model is: its metrics, and its predictions for the evaluated images."""
