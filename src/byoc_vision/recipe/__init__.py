"""What a job chooses for itself, from its hyperparameters, its data and the machine."""
