"""Estimators, evaluation, explanation and allocation on arrays and frames.

Nothing here knows a table of the lake, a contract, Dagster, MLflow or a clock: assets read, and hand over frames. What
a figure means for a plan, and which gate it must pass, is in ``cdap_assets.models``.
"""
