"""Fast paths: products with a partly frozen weight whose cost depends on the trainable part."""
