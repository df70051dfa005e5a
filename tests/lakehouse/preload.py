"""What the processes of test_kill import before they are forked."""

from lakehouse import gate, publish

gate._great_expectations()
__all__ = ["gate", "publish"]
