"""rStar-Math: a small policy and a process preference model that teach each other through tree search."""
