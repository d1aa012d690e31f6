"""Where state lives: tables, the batching transaction, reads, migrations. The only SQL."""
