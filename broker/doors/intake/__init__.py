"""What comes in: forms and uploads, the jobs that they become, and clients that leave."""
