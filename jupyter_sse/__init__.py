"""Stream LLM answers and watch long-running work in Jupyter."""
