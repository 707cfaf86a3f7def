"""The commands of `cdap`, one file per subject; each is a thin face of what the lineage does."""
