"""The deep contextual network, its training rule, and prediction with it."""
