"""Are the reasons true, and what do they cost?"""
