"""Password hashes of many origins: which are recognised, what they cost, how strong they are.

- forms: what hashes look like, and which of them cost too much to be verified
- caps: the limits, and the costs that a hash's text asks for
- recipes: how a digest was made of a password, in one form for every origin
- reading: the text of a hash -> its recipe and its digest
- foreign: the two origins whose hashes are structures, Keycloak and ASP.NET Identity
- deriving: a recipe and a password -> a digest
- strength: how a hash compares with OWASP's minimum and with the parameters in force
"""

from usermgr.hashes.forms import find_problems, hash_problem, is_too_costly

__all__ = ["find_problems", "hash_problem", "is_too_costly"]
