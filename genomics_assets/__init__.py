"""The code location: one package for each domain, merged by `definitions.py`."""
