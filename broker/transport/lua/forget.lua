-- Trims the list of dead letters.
-- include: _forget
--
-- KEYS      dead
-- ARGV
-- reads     dead
-- writes    dead
-- returns   the removed letters
local dead = unpack(KEYS)
return forget(dead)
