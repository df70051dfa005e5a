"""PySpark entry points: a thin ``main`` over functions from DataFrame to DataFrame."""
