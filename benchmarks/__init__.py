"""What the project is measured with; `make bench`, `make bench-rans`, `make bench-models`."""
