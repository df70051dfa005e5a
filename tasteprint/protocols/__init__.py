"""What a person types to run a protocol of ``evaluation.protocols``: a file each, of one name."""
