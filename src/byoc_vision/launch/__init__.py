"""The processes of a job: how they are started, watched, stopped, and how they communicate."""
