"""Products with a partly frozen weight that cost what trains."""
