"""What refers to blobs is found by model, and a model has its recipe: what a replay needs beside its updates."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_index("ix_blob_refs_ref_id", "blob_refs", ["ref_id"])
    op.add_column("models", sa.Column("recipe", sa.JSON(), server_default="{}", nullable=False))
