"""Which source gave an attribute of an item, and what an import joined."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("items", sa.Column("sources", sa.JSON))
    op.add_column("imports", sa.Column("sources", sa.JSON))


def downgrade() -> None:
    for table in ("imports", "items"):
        with op.batch_alter_table(table) as batch:
            batch.drop_column("sources")
