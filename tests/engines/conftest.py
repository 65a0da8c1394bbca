"""Each backend runs only its own engine tests: `test_jax_*` on JAX."""

import os

collect_ignore_glob = [
    f"test_{name}_*.py"
    for name in ("tensorflow", "jax", "torch")
    if name != os.environ["KERAS_BACKEND"]
]
