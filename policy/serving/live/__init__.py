"""The live page of a run: what is planned, sent and measured, and the buttons of the operator."""
