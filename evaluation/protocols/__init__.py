"""The published protocols, each over one batch: who is asked, what, and what came of it."""
