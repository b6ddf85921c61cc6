"""The machine a process runs on: cores, memory, GPUs, and the libraries' threads."""
