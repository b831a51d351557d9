"""What the transport does inside Redis in one step: Lua texts and the keys that they keep.

Times are the server's (`TIME`), so that boxes whose clocks differ agree on when a lease is over.
"""

#: tag -> message, as kombu books it: `[message, exchange, routing key]`.
UNACKED = "unacked"
#: tag -> when its lease was last renewed (sorted set).
INDEX = "unacked_index"
#: tag -> the node name of the box that has it.
HOLDERS = "golem:holders"
#: tag -> how often it was given to a worker. A tag is the name of one published message: a retry has a new one.
DELIVERIES = "golem:deliveries"
#: tag -> what the last worker that failed on it was heard to say.
CRASHES = "golem:crashes"
#: Letters (JSON: raw, why, queue, at, box, deliveries, error) for a person to look at, newest first.
DEAD = "golem:dead"
#: Copies of those letters whose job is still to be ended.
DYING = "golem:dying"


def wake_key(queue: str) -> str:
    """The sorted set in which an idle worker waits for work on a queue."""
    return f"golem:wake:{queue}"


#: KEYS: queues. Gives the server's time, then for each queue its depth and when its next message was sent.
PEEK = """
local clock = redis.call('TIME')
local seen = {string.format('%.6f', clock[1] + clock[2] / 1e6)}
for i = 1, #KEYS do
  local depth, sent = redis.call('LLEN', KEYS[i]), ''
  if depth > 0 then
    local ok, at = pcall(function() return cjson.decode(redis.call('LINDEX', KEYS[i], -1)).headers.sent_at end)
    if ok and type(at) == 'number' then sent = string.format('%.6f', at) end
  end
  seen[2 * i] = depth
  seen[2 * i + 1] = sent
end
return seen
"""

#: KEYS: queue, its wake mark, unacked, index, holders, deliveries, crashes, dead, dying.
#: ARGV: how many, most deliveries, node name.
#: Moves messages from the queue into the books; one that cannot be read or was delivered too often becomes a dead
#: letter. A message is booked before it is popped, so that an error in between doubles it and never loses it.
TAKE = """
local queue, wake, unacked, index, holders, deliveries, crashes, dead, dying = unpack(KEYS)
local most, limit, box = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local taken, buried = {}, 0
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
return {taken, buried}
"""

#: KEYS: unacked, index, deliveries, then queue and wake mark in pairs.
#: ARGV: tag, message, 1 where the delivery shall not count.
#: Puts a message back to where it is taken next. The holder stays written until another box takes it, so that a dead
#: letter can name it. Gives 0 where somebody else put it back or ended it already.
RESTORE = """
local tag, message, uncounted = ARGV[1], ARGV[2], ARGV[3]
redis.call('ZREM', KEYS[2], tag)
if redis.call('HEXISTS', KEYS[1], tag) == 0 then return 0 end
for i = 4, #KEYS, 2 do
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

#: KEYS: name. ARGV: token, expiry in ms, host, pid.
#: Takes or renews a node's name. Gives the other holder's {host, pid, ms left}, or {} where it is ours now.
CLAIM = """
local token = redis.call('HGET', KEYS[1], 'token')
if token and token ~= ARGV[1] then
  return {redis.call('HGET', KEYS[1], 'host'), redis.call('HGET', KEYS[1], 'pid'), redis.call('PTTL', KEYS[1])}
end
redis.call('HSET', KEYS[1], 'token', ARGV[1], 'host', ARGV[3], 'pid', ARGV[4])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return {}
"""

#: KEYS: name. ARGV: host, pid. Frees a name whose holder is known to be dead, or our own.
RELEASE = """
if redis.call('HGET', KEYS[1], 'host') == ARGV[1] and redis.call('HGET', KEYS[1], 'pid') == ARGV[2] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""
