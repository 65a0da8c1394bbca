"""Plans, positions and comparisons of the entries of arrays. Pure NumPy."""
