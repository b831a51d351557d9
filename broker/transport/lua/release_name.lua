-- Releases a node name whose holder is known to be dead, or our own.
--
-- KEYS      name, boxes
-- ARGV      host, pid, node name
-- reads     name
-- writes    name, boxes
-- returns   1 if it was released, else 0
local name, boxes = unpack(KEYS)
local host, pid, node = unpack(ARGV)
if redis.call('HGET', name, 'host') == host and redis.call('HGET', name, 'pid') == pid then
  redis.call('ZREM', boxes, node)
  return redis.call('DEL', name)
end
return 0
