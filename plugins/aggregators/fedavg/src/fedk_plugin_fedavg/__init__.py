"""Weighted mean of the models."""
