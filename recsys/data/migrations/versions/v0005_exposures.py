"""Exposures: which arm of which scenario produced a recommendation, and for whom."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "exposures",
        sa.Column("domain", sa.Text, primary_key=True),
        sa.Column("recommendation_id", sa.Text, primary_key=True),
        sa.Column("scenario", sa.Text, primary_key=True),
        sa.Column("arm", sa.Text, nullable=False),
        sa.Column("unit", sa.Text, nullable=False),
        sa.Column("user_id", sa.Text),
        sa.Column("time", sa.Double, nullable=False),
    )
    op.create_index("exposures_in_time", "exposures", ["domain", "scenario", "time"])
    op.create_index("exposures_of_user", "exposures", ["domain", "user_id"])


def downgrade() -> None:
    op.drop_table("exposures")
