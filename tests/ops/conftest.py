from hypothesis import settings

# the first example of a test may wait for numba
settings.register_profile("ops", deadline=None)
settings.load_profile("ops")
