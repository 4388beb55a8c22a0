"""Zygotrix: users, traits, conversations, courses and the documents of GWAS, in MongoDB."""
