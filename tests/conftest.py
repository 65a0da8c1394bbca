"""`KERAS_BACKEND` sets the backend of a process; each test starts with the same seed and names."""

import gc
import importlib.util
import os

import hypothesis
import pytest

BACKENDS = ("tensorflow", "jax", "torch")

backend = os.environ.get("KERAS_BACKEND")
if backend not in BACKENDS:
    raise pytest.UsageError(
        f"KERAS_BACKEND must be one of {', '.join(BACKENDS)}; got {backend!r}. "
        "`make test` runs the suite once for each."
    )
# A missing backend fails, whichever one is being tested: no test is skipped because of it.
missing = [name for name in BACKENDS if importlib.util.find_spec(name) is None]
if missing:
    raise pytest.UsageError(
        f"not installed: {', '.join(missing)}. The suite needs all three backends: `make test`."
    )

# Set before Keras is imported. Each worker has one core, so more threads would only compete.
# TensorFlow's inter-op pool keeps its size: collectives over virtual devices wait in it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No deadline: the first example of a test may compile. Derandomized: failures are repeatable.
hypothesis.settings.register_profile("frostline", deadline=None, derandomize=True)
hypothesis.settings.load_profile("frostline")


def pytest_addoption(parser):
    parser.addoption("--generic", action="store_true", help="without fast paths, in every test")
    parser.addoption("--shard", default="0/1", help="I/N: every Nth test, from the Ith on")
    parser.addoption(
        "--without-once", action="store_true", help="without tests that another backend runs"
    )


def pytest_collection_modifyitems(config, items):
    """Select one shard, and with `--without-once` deselect the tests marked `once`.

    A test marked `once` does not depend on the backend: it reads text, files or plain arrays, or
    starts a process. `make test` runs it only with the last backend; plain pytest always runs it.
    """
    if config.getoption("--without-once"):
        config.hook.pytest_deselected(items=[item for item in items if _runs_once(item)])
        items[:] = [item for item in items if not _runs_once(item)]
    first, step = map(int, config.getoption("--shard").split("/"))
    items[:] = items[first::step]


def _runs_once(item):
    mark = item.get_closest_marker("once")
    return mark is not None and mark.args != (False,)


@pytest.fixture(scope="session", autouse=True)
def keras_backend():
    """Check that Keras uses the requested backend."""
    import keras

    assert keras.backend.backend() == backend
    # Imported objects stay alive. Frozen, they are skipped by the garbage collector and by each
    # freeze, which uses it to find living layers and optimizers.
    import frostline  # noqa: F401

    gc.collect()
    gc.freeze()
    return backend


@pytest.fixture(autouse=True)
def fresh_keras(keras_backend):
    """Reset the seed and the numbers in layer names for every test."""
    import keras

    # This also collects the compiled functions of the last test, which fill the memory. Objects
    # that Keras and TensorFlow keep need not be searched again.
    keras.backend.clear_session()
    gc.freeze()
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def quickly_compiled():
    """Turn off most JAX optimizations, for modules in which compiling takes most of the time."""
    if backend != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def paths(request):
    """With `--generic`, turn off the fast paths."""
    if not request.config.getoption("--generic"):
        yield
        return
    from frostline._fast.paths import generic

    with generic():
        yield
