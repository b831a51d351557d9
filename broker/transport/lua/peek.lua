-- Reads the state of all queues; for a worker, also renews its claims and counts those of other boxes.
-- include: _claims
--
-- KEYS      each queue; for a worker then the claims on each queue, and served
-- ARGV      nothing; for a worker its node name, then for each queue 1 if it claims the queue, else 0
-- reads     queues, claims, served
-- writes    claims, for a worker
-- returns   the server's time; for each queue its depth and when its next message was published (empty: unknown);
--           then, for a worker, for each queue when any box last took from it and how many other boxes claim it
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local seen = {string.format('%.6f', now)}
local box = ARGV[1]
local queues = box and (#KEYS - 1) / 2 or #KEYS
local function queue(i) return KEYS[i] end
local function claims_on(i) return KEYS[queues + i] end
local function held(i) return ARGV[1 + i] end
local served = KEYS[2 * queues + 1]
for i = 1, queues do
  local depth, sent = redis.call('LLEN', queue(i)), ''
  if depth > 0 then
    local ok, at = pcall(function() return cjson.decode(redis.call('LINDEX', queue(i), -1)).headers.sent_at end)
    if ok and type(at) == 'number' then sent = string.format('%.6f', at) end
  end
  seen[2 * i] = depth
  seen[2 * i + 1] = sent
end
if box then
  local taken = redis.call('HMGET', served, unpack(KEYS, 1, queues))
  for i = 1, queues do
    seen[#seen + 1] = taken[i] or ''
    seen[#seen + 1] = claim(claims_on(i), box, held(i), now)
  end
end
return seen
