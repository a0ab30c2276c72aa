"""Releases of a deployment on one machine: installing, switching, going back.

A *home* has ``.env``, ``data/``, ``releases/NAME/`` (a whole source tree with a ``.venv`` of its own) and
``current``, a link to the release that runs.
"""
