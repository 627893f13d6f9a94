"""Scheduler, servers and workers of one training job: started, watched and ended together."""
