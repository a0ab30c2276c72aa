"""Gives a process a wrong clock: ``CLOCK_SKEW`` seconds are added to every ``time.time()``; monotonic time is right."""

import os
import time

_right, _skew = time.time, float(os.environ["CLOCK_SKEW"])
time.time = lambda: _right() + _skew
time.time_ns = lambda: round(time.time() * 1e9)
