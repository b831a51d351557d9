-- Releases a node name whose holder is known to be dead, or our own.
--
-- KEYS      name
-- ARGV      host, pid
-- reads     name
-- writes    name
-- returns   1 if it was released, else 0
local name = unpack(KEYS)
local host, pid = unpack(ARGV)
if redis.call('HGET', name, 'host') == host and redis.call('HGET', name, 'pid') == pid then
  return redis.call('DEL', name)
end
return 0
