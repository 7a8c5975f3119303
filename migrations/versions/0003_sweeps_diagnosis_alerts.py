"""Sweeps and their arms, diagnoses and the experiments they led to, alerts, shared pages, runs put away."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("runs", sa.Column("archived_at", sa.Float(precision=53), nullable=True))
    op.create_index("ix_runs_archived_at", "runs", ["archived_at"])


def downgrade() -> None:
    raise NotImplementedError("restore the copy in backups/ that was made before the upgrade")
