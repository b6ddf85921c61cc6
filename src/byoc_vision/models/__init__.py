"""Builds networks by name and loads their pretrained weights."""
