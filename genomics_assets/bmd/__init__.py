"""Dose-response analysis: expression matrices become benchmark doses that can be traced to their inputs."""
