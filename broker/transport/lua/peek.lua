-- Reads the state of all queues for a worker, renews its claims and counts those of other boxes.
-- include: _claims
--
-- KEYS      each queue; the claims on each queue; served, crashes
-- ARGV      node name, then for each queue 1 if the worker claims it, else 0
-- reads     queues, claims, served, crashes
-- writes    claims
-- returns   the server's time; then for each queue: its depth, when its next message was published (empty: unknown), when
--           any box last took from it, how many other boxes claim it, 1 if its next message was put off
local queues = (#KEYS - 2) / 2
local function claims_on(i) return KEYS[queues + i] end
local function held(i) return ARGV[1 + i] end
local box, served, crashes = ARGV[1], KEYS[#KEYS - 1], KEYS[#KEYS]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local seen = {string.format('%.6f', now)}
local taken = redis.call('HMGET', served, unpack(KEYS, 1, queues))
local LARGEST_BYTES = 65536  -- of a message, as in take.lua: decoding a forged one of 64 MB takes the server seconds
local function next_of(raw)
  assert(#raw <= LARGEST_BYTES)
  local message = cjson.decode(raw)
  return message.headers.sent_at, message.properties.delivery_tag
end
for i = 1, queues do
  local queue = KEYS[i]
  local depth, sent, put_off = redis.call('LLEN', queue), '', 0
  if depth > 0 then
    local ok, at, tag = pcall(next_of, redis.call('LINDEX', queue, -1))
    if ok and type(at) == 'number' then sent = string.format('%.6f', at) end
    if ok and type(tag) == 'string' and redis.call('HGET', crashes, tag) == 'put off' then put_off = 1 end
  end
  for _, value in ipairs({depth, sent, taken[i] or '', claim(claims_on(i), box, held(i), now), put_off}) do
    seen[#seen + 1] = value
  end
end
return seen
