"""The federated-learning microkernel."""
