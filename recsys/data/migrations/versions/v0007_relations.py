"""Relations between items."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "relations",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("relation", sa.Text, primary_key=True),
        sa.Column("source", sa.Text, primary_key=True),
        sa.Column("target", sa.Text, primary_key=True),
        sa.Column("source_is_entity", sa.Boolean, nullable=False),
        sa.Column("target_is_entity", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("relations")
