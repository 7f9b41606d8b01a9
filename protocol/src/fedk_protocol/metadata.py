"""Keys of the gRPC metadata that calls carry."""

TICKET = "fedk-ticket"
"""The ticket of Welcome, on Download and Upload."""

AUTHORIZATION = "authorization"
"""Reserved: what proves who is calling."""
