"""The few things that differ between backends, each behind one function of `base.Backend`."""
