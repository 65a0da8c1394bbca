"""What a summary is made of: the numbers, the tree by layer, the table and the HTML."""
