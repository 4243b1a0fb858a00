"""The book: what chapters show, and the tool that runs, builds and validates it."""
