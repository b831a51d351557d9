"""What the transport does inside Redis in one step: Lua texts. Their keys are those of `broker.keys`.

Times are the server's (`TIME`), so that boxes whose clocks differ agree on when a lease is over.
"""

#: How many letters are kept. What falls out is logged; the job of a letter has its Outcome, and keeps it.
DEAD_MOST = 1000
#: How long what a box says that it holds is believed, seconds. It says it whenever it looks, and every second.
HOLD_S = 3


#: Takes the oldest letters out of a list that is too long, at most 100 at once; gives them.
_FORGET = (
    f"local DEAD_MOST = {DEAD_MOST}"
    + """
local function forget(dead)
  local gone = {}
  while #gone < 100 and redis.call('LLEN', dead) > DEAD_MOST do gone[#gone + 1] = redis.call('RPOP', dead) end
  return gone
end
"""
)

#: KEYS: dead.
FORGET = _FORGET + "return forget(KEYS[1])"

#: Writes or strikes out a box's claim on a queue; counts the other boxes that have one.
_CLAIMS = (
    f"local HOLD_S = {HOLD_S}"
    + """
local function claim(claims, box, held, now)
  if held == '1' then
    redis.call('ZADD', claims, now, box)
    redis.call('EXPIRE', claims, HOLD_S)
  else
    redis.call('ZREM', claims, box)
  end
end
local function servers(claims, box, now)
  local count = redis.call('ZCOUNT', claims, now - HOLD_S, '+inf')
  if tonumber(redis.call('ZSCORE', claims, box) or 0) >= now - HOLD_S then count = count - 1 end
  return count
end
"""
)

#: KEYS: queues; for a box also the claims on each, and `SERVED`. ARGV: for a box its node name, and for each queue 1
#: where it holds the model, else 0.
#: Gives the server's time, for each queue its depth and when its next message was sent; then, for a box, for each
#: queue when any box last took from it and how many others serve it.
PEEK = (
    _CLAIMS
    + """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local seen = {string.format('%.6f', now)}
local queues = ARGV[1] and (#KEYS - 1) / 2 or #KEYS
for i = 1, queues do
  local depth, sent = redis.call('LLEN', KEYS[i]), ''
  if depth > 0 then
    local ok, at = pcall(function() return cjson.decode(redis.call('LINDEX', KEYS[i], -1)).headers.sent_at end)
    if ok and type(at) == 'number' then sent = string.format('%.6f', at) end
  end
  seen[2 * i] = depth
  seen[2 * i + 1] = sent
end
if ARGV[1] then
  for i = 1, queues do
    claim(KEYS[queues + i], ARGV[1], ARGV[1 + i], now)
    seen[#seen + 1] = redis.call('HGET', KEYS[#KEYS], KEYS[i]) or ''
    seen[#seen + 1] = servers(KEYS[queues + i], ARGV[1], now)
  end
end
return seen
"""
)

#: KEYS: queue, its wake mark, unacked, index, holders, deliveries, crashes, dead, dying, `SERVED`, the claims on the
#: queue, then those on the other queues.
#: ARGV: how many, most deliveries, node name, and for a box that moves to the queue how many others were seen to serve
#: it, else -1: where there are more by now, another box was quicker to move, and nothing is taken.
#: Moves messages from the queue into the books; one that cannot be read or was delivered too often becomes a dead
#: letter. A message is booked before it is popped, so that an error in between doubles it and never loses it. Gives
#: the messages, how many became letters, and the letters that fell out of their list for them.
TAKE = (
    _CLAIMS
    + _FORGET
    + """
local queue, wake, unacked, index, holders, deliveries, crashes, dead, dying, served, claims = unpack(KEYS)
local most, limit, box, others = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local taken, buried = {}, 0
if others >= 0 and servers(claims, box, now) > others then return {taken, buried, {}} end
while #taken < most do
  local raw = redis.call('LINDEX', queue, -1)
  if not raw then break end
  local ok, tag, book = pcall(function()
    local message = cjson.decode(raw)
    local head, props = message.headers, message.properties
    for _, text in ipairs({message.body or 0, head.id or 0, head.task or 0, props.delivery_tag or 0}) do
      assert(type(text) == 'string')
    end
    return props.delivery_tag, '[' .. raw .. ',' .. cjson.encode(props.delivery_info.exchange) .. ','
                                                 .. cjson.encode(props.delivery_info.routing_key) .. ']'
  end)
  if not ok then
    redis.call('LPUSH', dead, cjson.encode({raw = raw, why = 'malformed', queue = queue, at = now, box = box}))
    buried = buried + 1
  else
    local count = redis.call('HINCRBY', deliveries, tag, 1)
    if count > limit then
      local letter = cjson.encode({raw = raw, why = 'too-many-deliveries', queue = queue, at = now,
                                   box = redis.call('HGET', holders, tag) or '', deliveries = count - 1,
                                   error = redis.call('HGET', crashes, tag) or 'the worker died'})
      redis.call('LPUSH', dead, letter)
      redis.call('LPUSH', dying, letter)
      for _, key in ipairs({holders, deliveries, crashes}) do redis.call('HDEL', key, tag) end
      buried = buried + 1
    else
      redis.call('HSET', unacked, tag, book)
      redis.call('ZADD', index, now, tag)
      redis.call('HSET', holders, tag, box)
      taken[#taken + 1] = raw
    end
  end
  redis.call('RPOP', queue)
end
if redis.call('EXISTS', queue) == 1 then redis.call('ZADD', wake, 0, 'work') end  -- for the next idle worker
if #taken > 0 then
  redis.call('HSET', served, queue, string.format('%.6f', now))
  if others >= 0 then
    claim(claims, box, '1', now)
    for i = 12, #KEYS do claim(KEYS[i], box, '0', now) end  -- until it tells what it still holds
  end
end
return {taken, buried, buried > 0 and forget(dead) or {}}
"""
)

#: KEYS: wake marks. Wakes the next idle worker of each: the one that was woken leaves the work to it.
WAKE = """
for i = 1, #KEYS do redis.call('ZADD', KEYS[i], 0, 'work') end
return #KEYS
"""

#: KEYS: unacked, index, deliveries, holders, then queue and wake mark in pairs.
#: ARGV: tag, message, 1 where the delivery shall not count, the box that must hold it (empty: any).
#: Puts a message back to where it is taken next. The holder stays written until another box takes it, so that a dead
#: letter can name it. Gives 0 where somebody else put it back, took it or ended it already: a box that slept longer
#: than its lease must not take away what another works on by now.
RESTORE = """
local tag, message, uncounted, box = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if box ~= '' and redis.call('HGET', KEYS[4], tag) ~= box then return 0 end
redis.call('ZREM', KEYS[2], tag)
if redis.call('HEXISTS', KEYS[1], tag) == 0 then return 0 end
for i = 5, #KEYS, 2 do
  redis.call('RPUSH', KEYS[i], message)
  redis.call('ZADD', KEYS[i + 1], 0, 'work')
end
redis.call('HDEL', KEYS[1], tag)
if uncounted == '1' then redis.call('HINCRBY', KEYS[3], tag, -1) end
return 1
"""

#: KEYS: index. ARGV: tags. Renews those leases that still stand; gives how many.
RENEW = """
local clock = redis.call('TIME')
local now, stand = clock[1] + clock[2] / 1e6, 0
for i = 1, #ARGV do
  if redis.call('ZSCORE', KEYS[1], ARGV[i]) then
    redis.call('ZADD', KEYS[1], 'XX', now, ARGV[i])
    stand = stand + 1
  end
end
return stand
"""

#: KEYS: index. ARGV: the lease in seconds. Tags whose lease is over, at most 100.
EXPIRED = """
local clock = redis.call('TIME')
local before = string.format('%.6f', clock[1] + clock[2] / 1e6 - ARGV[1])
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', '(' .. before, 'LIMIT', 0, 100)
"""

#: KEYS: name, then the claims on queues. ARGV: token, expiry in ms, host, pid; to renew also the node, a JSON
#: object of fields for all to read, and for each queue 1 where it holds the model, else 0.
#: Takes or renews a node's name. Gives the other holder's {host, pid, ms left}, or {} where it is ours now.
CLAIM = (
    _CLAIMS
    + """
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[1] then
  return {redis.call('HGET', KEYS[1], 'host'), redis.call('HGET', KEYS[1], 'pid'), redis.call('PTTL', KEYS[1])}
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'host', ARGV[3], 'pid', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
if ARGV[5] then
  local clock = redis.call('TIME')
  for field, value in pairs(cjson.decode(ARGV[6])) do redis.call('HSET', KEYS[1], field, value) end
  for i = 2, #KEYS do claim(KEYS[i], ARGV[5], ARGV[5 + i], clock[1] + clock[2] / 1e6) end
end
return {}
"""
)

#: KEYS: name. ARGV: host, pid. Frees a name whose holder is known to be dead, or our own.
RELEASE = """
if redis.call('HGET', KEYS[1], 'host') == ARGV[1] and redis.call('HGET', KEYS[1], 'pid') == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""
