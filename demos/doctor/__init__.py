"""The dataset doctor: one file for each kind of trouble."""
