"""How the entries of an array lie, are walked and compared. Pure NumPy."""
