"""A result and a contribution name all combiners that they went through."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("results", sa.Column("via", sa.Text(), server_default="", nullable=False))
    with op.batch_alter_table("contributions") as contributions:
        contributions.alter_column("via", existing_type=sa.String(64), existing_nullable=False, type_=sa.Text())
    op.execute(sa.text("DELETE FROM partials WHERE name NOT LIKE '%#%'"))  # a combiner's own: they are made again
