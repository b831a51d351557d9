-- Claims or renews a node name; a renewal also writes the worker's state and its claims on queues.
-- include: _claims
--
-- KEYS      name; for a renewal also the claims on each queue
-- ARGV      token, expiry in ms, host, pid; for a renewal also the node name, a JSON object of public fields, and for
--           each queue 1 if the worker claims it, else 0
-- reads     name
-- writes    name, claims
-- returns   {host, pid, ms left} of another holder, or {} if the name is ours now
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
