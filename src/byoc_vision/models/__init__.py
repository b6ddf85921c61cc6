"""Networks by name, and where their pretrained weights come from."""
