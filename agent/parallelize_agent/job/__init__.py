"""One job: staging in, running, staging out, and deciding what a failure means."""
