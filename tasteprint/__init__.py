"""What a person holds in the hand: the command line, the runner of the whole way, doctor."""
