"""The parts that every framework shares."""
