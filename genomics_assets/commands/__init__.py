"""What `python -m genomics_assets …` does. Orchestration of processes and stores, and no science."""
