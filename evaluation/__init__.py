"""Metrics, the published protocols and the report on a batch."""
