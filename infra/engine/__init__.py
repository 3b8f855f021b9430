"""The parts that act by themselves: follower, planner, timekeeper, and the queue that feeds the worker."""
