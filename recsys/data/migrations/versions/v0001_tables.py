"""Users, items, interactions, imports."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("profile", sa.JSON, nullable=False),
        sa.Column("home", sa.JSON),
    )
    op.create_table(
        "items",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("year", sa.Integer),
        sa.Column("attributes", sa.JSON, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
    )
    op.create_table(
        "interactions",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text, primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("timestamp", sa.Double, primary_key=True),
        sa.Column("rating", sa.Double),
        sa.Column("context", sa.JSON),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["domain", "user_id"], ["users.domain", "users.id"]),
        sa.ForeignKeyConstraint(["domain", "item_id"], ["items.domain", "items.id"]),
    )
    op.create_index("interactions_in_time", "interactions", ["domain", "user_id", "timestamp", "sequence"])
    op.create_table(
        "imports",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("data_hash", sa.Text, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
    )


def downgrade() -> None:
    for name in ("imports", "interactions", "items", "users"):
        op.drop_table(name)
