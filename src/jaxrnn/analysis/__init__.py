"""Looking at a network: how credit flows back through time, what the units do, and which horizon is enough."""
