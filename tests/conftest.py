"""One backend a process, named by `KERAS_BACKEND`; the same seed and names for every test."""

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
# A missing backend fails, whichever one is being tested: nothing is skipped for want of it.
missing = [name for name in BACKENDS if importlib.util.find_spec(name) is None]
if missing:
    raise pytest.UsageError(
        f"not installed: {', '.join(missing)}. The suite needs all three backends: `make test`."
    )

# Read at import, so before Keras. Each worker has a core: more threads would only compete.
# TensorFlow's inter-op pool stays as it is, since collectives over virtual devices wait in it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")

# No deadline: the first example of a test may compile. Derandomized: a failure repeats.
hypothesis.settings.register_profile("frostline", deadline=None, derandomize=True)
hypothesis.settings.load_profile("frostline")


def pytest_addoption(parser):
    parser.addoption("--generic", action="store_true", help="without fast paths, in every test")
    parser.addoption("--shard", default="0/1", help="I/N: every Nth test, from the Ith on")
    parser.addoption(
        "--without-once", action="store_true", help="without tests that another backend runs"
    )


def pytest_collection_modifyitems(config, items):
    """Leave out what another backend runs, and all but one shard.

    A test marked `once` depends on no backend: it reads text, files or plain arrays, or starts a
    process. `make test` runs it with the last of its backends alone, and pytest by itself always.
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
    """The backend that Keras really took."""
    import keras

    assert keras.backend.backend() == backend
    # What the imports made stays: the garbage collector, and each freeze, which looks for living
    # layers and optimizers with its help, need not go through it hundreds of times.
    import frostline  # noqa: F401

    gc.collect()
    gc.freeze()
    return backend


@pytest.fixture(autouse=True)
def fresh_keras(keras_backend):
    """The same seed for every test, and layer names that count from the start."""
    import keras

    # Collects what the last test left, too: compiled functions, which fill the memory. What Keras
    # and TensorFlow keep of them nobody need go through again.
    keras.backend.clear_session()
    gc.freeze()
    keras.utils.set_random_seed(0)


@pytest.fixture(scope="module")
def quickly_compiled():
    """JAX leaves out most optimizations, for modules that compile far more than they compute."""
    if backend != "jax":
        yield
        return
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(autouse=True)
def paths(request):
    """The fast paths, or with `--generic` none of them."""
    if not request.config.getoption("--generic"):
        yield
        return
    from frostline._fast.paths import generic

    with generic():
        yield
