"""What a plugin author imports, and nothing else of the kernel."""
