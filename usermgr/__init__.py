"""usermgr: administer the users, roles and claims that live in a SQL database."""

__version__ = "0.1.0"
