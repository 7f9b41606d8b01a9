"""A whole federation on one machine: for a laptop, a notebook, a test."""
