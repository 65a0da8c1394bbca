"""The parts of the callbacks."""
