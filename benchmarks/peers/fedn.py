"""FEDn, which stands beside nobody here: what its controller wants cannot be installed from the package index.

A database (MongoDB, PostgreSQL) and an object store are services of their own. 0.33 names SQLite too, but its two workers
make the same tables when they start: one of them ends with "table already exists", and the controller with it. It binds
to 0.0.0.0, whatever its configuration says, and this benchmark stays on loopback.
"""

NAME = "fedn"
REASON = (
    "its controller needs MongoDB or PostgreSQL and an S3 object store beside it, which the package index has not; "
    "over SQLite, which it names as well, it ends at its start; it listens beyond loopback"
)
