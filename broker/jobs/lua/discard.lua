-- Drops an upload that no job wants: its client has left, or its job was known before.
-- include: _drop
--
-- KEYS      vault total, vault sizes, vault leaving, vault ended
-- ARGV      upload, its name (the key without the system's prefix)
-- reads     vault sizes
-- writes    all keys, the upload
-- returns   1
local total, sizes, leaving, ended = unpack(KEYS)
drop(total, sizes, leaving, ended, unpack(ARGV))
return 1
