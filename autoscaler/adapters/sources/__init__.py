"""Where measures come from: brokers, files, and the twin for tests."""
