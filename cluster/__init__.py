"""A cluster of several hosts on one machine, and the exercise of the real launchers on it."""
