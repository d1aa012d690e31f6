"""Lists and looks over many rows, as Core SELECTs; only in reading works."""
