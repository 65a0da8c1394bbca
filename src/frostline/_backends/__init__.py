"""What differs between backends, each thing behind one method of `base.Backend`."""
