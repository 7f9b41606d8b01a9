"""Documents of REST as lines of text. Each screen ends with what to type next."""
