"""Images and masks: finding them, checking them, reading them, and feeding them to a model."""
