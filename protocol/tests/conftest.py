"""Hypothesis without deadlines: a busy machine is no defect of the code."""

from hypothesis import settings

settings.register_profile("fedk", deadline=None)
settings.load_profile("fedk")
