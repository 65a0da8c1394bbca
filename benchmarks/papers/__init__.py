"""Small runs of papers about freezing: `make papers`."""

import os

# Small models take less time on JAX, once it has compiled. Keras reads this when it is imported.
os.environ.setdefault("KERAS_BACKEND", "jax")
