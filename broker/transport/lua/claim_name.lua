-- Claims or renews a node name and its entry in the index of boxes; a renewal also writes the worker's state and its
-- claims on queues.
-- include: _claims
--
-- KEYS      name, boxes; for a renewal also the claims on each queue
-- ARGV      token, expiry in ms, host, pid, node name; for a renewal also a JSON object of public fields, and for each
--           queue 1 if the worker claims it, else 0
-- reads     name
-- writes    name, boxes, claims
-- returns   {host, pid, ms left} of another holder, or {} if the name is ours now
local KEPT_S = 60  -- a name stays in the index without a renewal: as long as the hash of a child without a parent
local name, boxes = unpack(KEYS)
local mine, expiry_ms, host, pid, node, fields = unpack(ARGV)
local FIXED = 2  -- keys before the claims
local function claims_on(i) return KEYS[FIXED + i] end
local function held(i) return ARGV[6 + i] end
local token = redis.call('HGET', name, 'token')
if token and token ~= mine then
  return {redis.call('HGET', name, 'host'), redis.call('HGET', name, 'pid'), redis.call('PTTL', name)}
end
local told = {'token', mine, 'host', host, 'pid', pid}
for field, value in pairs(fields and cjson.decode(fields) or {}) do
  told[#told + 1] = field
  told[#told + 1] = value
end
redis.call('HSET', name, unpack(told))
redis.call('PEXPIRE', name, expiry_ms)
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
redis.call('ZADD', boxes, now, node)
redis.call('ZREMRANGEBYSCORE', boxes, '-inf', now - KEPT_S)
redis.call('EXPIRE', boxes, KEPT_S)
if fields then
  for i = 1, #KEYS - FIXED do claim(claims_on(i), node, held(i), now) end
end
return {}
