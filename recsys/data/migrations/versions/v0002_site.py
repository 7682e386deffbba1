"""Where an item is, and when it is open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("items", sa.Column("site", sa.JSON))


def downgrade() -> None:
    with op.batch_alter_table("items") as items:
        items.drop_column("site")
