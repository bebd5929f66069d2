"""What every room shares and no room owns: time, chance, tasks, queues, metrics, logging.

Not Kubernetes: nothing here knows what an object is.
"""
