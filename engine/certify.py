def checkable_operators() -> frozenset[str]:
    return frozenset()
