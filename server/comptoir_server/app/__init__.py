"""Use cases: one module a noun, one function a method of the contract or a job of a worker."""
