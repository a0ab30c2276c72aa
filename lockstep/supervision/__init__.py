"""Processes under supervisord: where its files are, asking it, reloading, scaling, telling of deaths."""
