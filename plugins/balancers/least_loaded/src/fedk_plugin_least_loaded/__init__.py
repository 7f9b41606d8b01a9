"""Places a client on the server with the fewest clients."""
