"""Listeners, catalogues and listening events whose true taste is known, at any size.

NumPy and pyarrow only. Every row is a function of the configuration and of its own index, so any
engine may build any part, in any order and in any number of processes, and get the same rows.
"""
