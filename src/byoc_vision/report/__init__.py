"""What happened in a job: its record on the disk, and the page made of it."""
