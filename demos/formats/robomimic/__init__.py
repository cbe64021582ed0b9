"""HDF5 files of robomimic and robosuite, read and written."""
