"""Sections of docs/results.md about import and fitting at size."""

from __future__ import annotations

from typing import Any

from benchmarks.tables import environment_line


def import_speed(result: dict[str, Any]) -> str:
    """Render the results of `benchmarks/import_speed.py`."""
    reference, own = result["reference"], result["import"]
    rows = [
        f"| {name} | {figures['wall_s']:.2f} | {figures['cpu_s']:.2f} | {peak} |"
        for name, figures, peak in (
            ("`recsys import`, start of Python and checks included", own, f"{own['peak_mib']:,}"),
            ("polars reads the files", reference["polars_reads"], "-"),
            ("SQLite inserts, in the order of the file", reference["sqlite_inserts_in_file_order"], "-"),
            ("SQLite inserts, in the order of keys", reference["sqlite_inserts_in_key_order"], "-"),
        )
    ]
    in_file, in_keys = (result[f"times_reference_in_{order}_order"] for order in ("file", "key"))
    return "\n".join(
        [
            "## Import at size\n",
            f"{result['data'].capitalize()}. The reference is polars and SQLite alone, in the same run.\n",
            "| | seconds | CPU seconds | peak memory, MiB |\n|---|---|---|---|",
            *rows,
            (
                f"\nAn import takes {in_file['wall_s']:.2f} times the reference that inserts in the order of "
                f"the file, and {in_keys['wall_s']:.2f} times the one that sorts by key first.\n"
            ),
            environment_line(result["environment"]),
        ]
    )
