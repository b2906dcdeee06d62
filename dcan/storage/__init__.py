"""Files at the rim: sources, stores, tables, receipts, claims, checkpoints."""
