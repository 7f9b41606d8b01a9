"""Sessions count the models that they have begun to make: noise that was drawn is paid for, committed or not."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("sessions", sa.Column("folds", sa.Integer(), server_default="0", nullable=False))
