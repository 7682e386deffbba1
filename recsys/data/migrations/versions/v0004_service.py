"""Traces, feedback, sessions and idempotency keys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "traces",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text),
        sa.Column("time", sa.Double, nullable=False),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("request", sa.JSON, nullable=False),
        sa.Column("answer", sa.JSON, nullable=False),
    )
    op.create_index("traces_in_time", "traces", ["domain", "time"])
    op.create_index("traces_of_user", "traces", ["domain", "user_id"])
    op.create_table(
        "feedback",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("recommendation_id", sa.Text, primary_key=True),
        sa.Column("item_id", sa.Text, primary_key=True),
        sa.Column("event", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Text),
        sa.Column("rank", sa.Integer),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_index("feedback_of_user", "feedback", ["domain", "user_id"])
    op.create_table(
        "sessions",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("liked", sa.JSON, nullable=False),
        sa.Column("disliked", sa.JSON, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "idempotency",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("body_hash", sa.Text, nullable=False),
        sa.Column("status", sa.Integer),
        sa.Column("answer", sa.JSON),
        sa.Column("time", sa.Double, nullable=False),
    )


def downgrade() -> None:
    for name in ("idempotency", "sessions", "feedback", "traces"):
        op.drop_table(name)
