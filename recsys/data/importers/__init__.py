"""Import of a domain's files: read, validated, and put into the store."""

from __future__ import annotations

from recsys.data.importers.domain_tables import ensure_imported, import_domain, read_domain

__all__ = ["ensure_imported", "import_domain", "read_domain"]
