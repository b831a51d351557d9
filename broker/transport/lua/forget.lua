-- Bounds the list of dead letters.
-- include: _forget
--
-- KEYS      dead
-- ARGV
-- reads     dead
-- writes    dead
-- returns   the letters that were taken out
local dead = unpack(KEYS)
return forget(dead)
