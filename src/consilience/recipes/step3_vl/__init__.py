"""STEP3-VL-10B, shrunken: visual reasoning in parallel."""
