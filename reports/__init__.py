"""What a run of a suite came to, as files that people and other programs read."""
