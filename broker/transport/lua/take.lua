-- Moves messages from a queue into the unacknowledged hash; none is ever outside both.
-- include: _claims, _forget
--
-- A message that is malformed or was delivered too often becomes a dead letter. A message is stored before it is
-- popped, so that an error in between duplicates it and never loses it. A worker that moves to the queue takes nothing
-- if more boxes claim it now than at the peek: another was faster. A call makes at most 100 dead letters, as many as the
-- list of dead letters can drop in one call.
--
-- KEYS      queue, its wake mark, unacked, index, holders, deliveries, crashes, dead, dying, served, claims on the
--           queue; then claims on the other queues
-- ARGV      maximum of messages, maximum of deliveries, node name, other servers at the peek (-1: model is resident),
--           name of the queue
-- reads     queue, holders, crashes, claims
-- writes    queue, wake, unacked, index, holders, deliveries, crashes, dead, dying, served, claims
-- returns   messages, their tags, how many became dead letters, letters dropped from the full list
local queue, wake, unacked, index, holders, deliveries, crashes, dead, dying, served, claims = unpack(KEYS)
local FIXED = 11  -- keys before the claims on the other queues
local BURIED_MOST = 100  -- dead letters of one call: the list drops as many
local most, limit, box, others, name = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3], tonumber(ARGV[4]), ARGV[5]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local taken, tags, buried = {}, {}, 0
if others >= 0 and servers(claims, box, now) > others then return {taken, tags, buried, {}} end
while #taken < most and buried < BURIED_MOST do
  local raw = redis.call('LINDEX', queue, -1)
  if not raw then break end
  local ok, tag, book = pcall(function()
    local message = cjson.decode(raw)
    local head, props = message.headers, message.properties
    for _, text in ipairs({message.body or 0, head.id or 0, head.task or 0, props.delivery_tag or 0}) do
      assert(type(text) == 'string')
    end
    local delivery, named = props.delivery_info, '[^%w_.-]'  -- plain names, so that any worker can find the entry
    assert(#props.delivery_tag <= 100 and not props.delivery_tag:find(named))
    assert(type(delivery.exchange) == 'string' and not delivery.exchange:find(named))
    assert(delivery.routing_key == name)
    return props.delivery_tag, '[' .. raw .. ',"' .. delivery.exchange .. '","' .. name .. '"]'
  end)
  if not ok then
    redis.call('LPUSH', dead, cjson.encode({raw = raw, why = 'malformed', queue = name, at = now, box = box}))
    buried = buried + 1
  else
    local count = redis.call('HINCRBY', deliveries, tag, 1)
    if count > limit then
      local letter = cjson.encode({raw = raw, why = 'too-many-deliveries', queue = name, at = now,
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
      tags[#tags + 1] = tag
    end
  end
  redis.call('RPOP', queue)
end
if redis.call('EXISTS', queue) == 1 then redis.call('ZADD', wake, 0, 'work') end  -- for the next idle worker
if #taken > 0 then
  redis.call('HSET', served, queue, string.format('%.6f', now))
  if others >= 0 then
    claim(claims, box, '1', now)
    for i = FIXED + 1, #KEYS do claim(KEYS[i], box, '0', now) end  -- the next peek restores claims still valid
  end
end
return {taken, tags, buried, buried > 0 and forget(dead) or {}}
