"""Model bytes in files of this machine."""
