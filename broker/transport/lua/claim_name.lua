-- Takes or renews a node's name; a renewal also tells how the box stands and which queues it serves.
-- include: _claims
--
-- KEYS      the name; to renew also the claims on each queue
-- ARGV      token, expiry in ms, host, pid; to renew also the node, a JSON object of fields for all to read, and for each
--           queue 1 where the box holds its model, else 0
-- reads     name
-- writes    name, claims
-- returns   {host, pid, ms left} of another holder, or {} where the name is ours now
local name = KEYS[1]
local mine, expiry_ms, host, pid, node, fields = unpack(ARGV)
local function claims_on(i) return KEYS[1 + i] end
local function held(i) return ARGV[6 + i] end
local token = redis.call('HGET', name, 'token')
if token and token ~= mine then
  return {redis.call('HGET', name, 'host'), redis.call('HGET', name, 'pid'), redis.call('PTTL', name)}
end
redis.call('HSET', name, 'token', mine, 'host', host, 'pid', pid)
redis.call('PEXPIRE', name, expiry_ms)
if node then
  local clock = redis.call('TIME')
  for field, value in pairs(cjson.decode(fields)) do redis.call('HSET', name, field, value) end
  for i = 1, #KEYS - 1 do claim(claims_on(i), node, held(i), clock[1] + clock[2] / 1e6) end
end
return {}
