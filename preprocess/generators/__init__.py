"""Programs that make rows: problems, pictures, diagrams, clips.

Those that are sources keep the contract of preprocess.source.
"""
