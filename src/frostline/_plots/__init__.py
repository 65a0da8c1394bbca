"""What the plots are made of: `_arrange` and `_cells` are pure, the others draw with matplotlib."""
