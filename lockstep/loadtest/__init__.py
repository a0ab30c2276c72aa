"""Load over HTTP on a service that runs, and whether it kept its promises: see ``docs/loadtest.md``."""
