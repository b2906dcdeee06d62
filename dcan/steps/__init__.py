"""One short function a rule: read, compute, write, vouch."""
