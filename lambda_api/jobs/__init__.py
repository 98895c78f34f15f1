"""Photos by the hundred thousand, worked off later: asked for, listed, classified, written down, told.

A job's state and each photo's result are items of one table, each step is a message of one queue. Messages may come
twice and workers may die at any point, so every step first looks at what is done, and what it does is one transaction.

    list ──> photo, photo, … ──> finish ──> notify
"""
