"""Connections to the stores, and the IO managers that write to them. Nothing else talks to a store."""
