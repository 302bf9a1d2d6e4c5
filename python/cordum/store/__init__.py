"""Redis: one connection module, Lua scripts, one repository per aggregate."""
