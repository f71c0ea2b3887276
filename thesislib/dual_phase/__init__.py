"""Chapter 4: dual-phase modelling for long-tailed data."""
