"""One weight: the two parts it is divided into, the view that stands for both, and its path."""
