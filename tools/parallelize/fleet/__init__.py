"""The machines of a run: plans as data, and the one boundary to EC2 and Auto Scaling."""
