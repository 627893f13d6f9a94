"""What every package stands on: the MXNet import, devices, readable errors, files that are whole or absent."""
