"""The steps by which a database came to its present shape. Each is written once and never changed."""
