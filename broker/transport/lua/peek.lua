-- Reads the state of all queues for a worker, renews its claims and counts those of other boxes.
-- include: _claims
--
-- KEYS      the bulk lane of each queue; their interactive lanes; the claims on each queue; served, crashes
-- ARGV      node name, then for each queue 1 if the worker claims it, else 0
-- reads     queues, claims, served, crashes
-- writes    claims
-- returns   the server's time; then for each queue how many other boxes claim it, and of its bulk and of its interactive
--           lane: the depth, when the next message was published (empty: unknown), when any box last took from it, 1 if the
--           next message was put off
local queues = (#KEYS - 2) / 3
local function claims_on(i) return KEYS[2 * queues + i] end
local function held(i) return ARGV[1 + i] end
local box, served, crashes = ARGV[1], KEYS[#KEYS - 1], KEYS[#KEYS]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local seen = {string.format('%.6f', now)}
local taken = redis.call('HMGET', served, unpack(KEYS, 1, 2 * queues))
local LARGEST_BYTES = 65536  -- of a message, as in take.lua: decoding a forged one of 64 MB takes the server seconds
local function next_of(raw)
  assert(#raw <= LARGEST_BYTES)
  local message = cjson.decode(raw)
  return message.headers.sent_at, message.properties.delivery_tag
end
local function look(i)
  local lane = KEYS[i]
  local depth, sent, put_off = redis.call('LLEN', lane), '', 0
  if depth > 0 then
    local ok, at, tag = pcall(next_of, redis.call('LINDEX', lane, -1))
    if ok and type(at) == 'number' then sent = string.format('%.6f', at) end
    if ok and type(tag) == 'string' and redis.call('HGET', crashes, tag) == 'put off' then put_off = 1 end
  end
  for _, value in ipairs({depth, sent, taken[i] or '', put_off}) do seen[#seen + 1] = value end
end
for i = 1, queues do
  seen[#seen + 1] = claim(claims_on(i), box, held(i), now)
  look(i)
  look(queues + i)
end
return seen
