"""bbolt databases as files: written in one go from sorted rows (`writer`), or read (`reader`); `format` says what
they are made of. Nothing is ever changed in place.
"""
