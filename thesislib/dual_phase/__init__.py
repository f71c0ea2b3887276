"""Chapter 4: dual-phase modelling for long-tailed data (thesis, section 4.4)."""
