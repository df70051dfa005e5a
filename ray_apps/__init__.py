"""Ray entry points: a thin ``main`` over Ray Train and Ray Data."""
