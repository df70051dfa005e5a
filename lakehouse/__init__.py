"""Where tables live, which version counts, and what stops a bad batch."""
