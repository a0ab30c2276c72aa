"""Group-ordered message processing on Dramatiq and Redis."""
