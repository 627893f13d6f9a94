"""What every room stands on: MXNet's one door, devices, errors people can read, files that are whole or absent."""
from runtime.loading import take_over

take_over()
