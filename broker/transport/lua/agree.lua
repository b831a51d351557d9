-- Renews a worker's registration of its checkpoints: of all its stages, or of none if one differs.
--
-- KEYS      entry of each stage
-- ARGV      node name, expiry in ms, then this worker's checkpoint for each entry
-- reads     entries
-- writes    entries
-- returns   {position of the first different entry, its checkpoint, its node name}, or {} if all were renewed
local box, expiry_ms = ARGV[1], ARGV[2]
local function ours(i) return ARGV[2 + i] end
for i, entry in ipairs(KEYS) do
  local there = redis.call('HGET', entry, 'checkpoint')
  if there and there ~= ours(i) then return {i, there, redis.call('HGET', entry, 'box')} end
end
for i, entry in ipairs(KEYS) do
  redis.call('HSET', entry, 'checkpoint', ours(i), 'box', box)
  redis.call('PEXPIRE', entry, expiry_ms)
end
return {}
