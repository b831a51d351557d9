-- Reserves vault space for audio, a label set or a vocabulary.
-- include: _reserve
--
-- KEYS      vault total, vault sizes, vault leaving, vault ended
-- ARGV      name (the key without the system's prefix), bytes, limit, expiry of an unpublished entry in seconds, the
--           system's prefix
-- reads     all keys
-- writes    all keys, and what is dropped
-- returns   1; 0 if there is no space; -1 if there may be space once more entries are dropped: call again
local total, sizes, leaving, ended = unpack(KEYS)
local name, need, limit, unclaimed_s, prefix = unpack(ARGV)
return reserve(total, sizes, leaving, ended, name, tonumber(need), tonumber(limit), unclaimed_s, prefix)
