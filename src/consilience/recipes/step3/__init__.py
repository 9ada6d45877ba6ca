"""Step-3 (arXiv 2507.19427): attention kinds at equal cache, the cost table, disaggregation for real."""
