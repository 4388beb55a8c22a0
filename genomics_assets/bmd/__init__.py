"""Dose-response expression matrices become benchmark doses, gene set results and a point of departure."""
