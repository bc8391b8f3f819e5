"""One library a file: `CELLS`, the names of the cells that it has, and `build(row, weights, batch) -> Prepared`."""
