-- Moves messages from the lanes of a queue into the unacknowledged hash; none is ever outside both.
-- include: _claims, _forget, _strike
--
-- Nobody else reads a message of a queue: the worker gets the fields that it needs, checked, and never the text, so that
-- no second parser can read it differently. A message that is malformed or was delivered too often becomes a dead
-- letter. A message is stored before it is popped, so that an error in between duplicates it and never loses it. A worker
-- that moves to the queue takes nothing if more boxes claim it now than at the peek: another was faster. A call makes at
-- most 100 dead letters, as many as the list of dead letters can drop in one call.
--
-- Interactive messages come first and bulk fills up, except that a part can be kept for bulk. A message that must run alone
-- is taken alone: each take is one batch, so that an interactive job waits for one at most.
--
-- KEYS      bulk lane of the queue, its interactive lane, its wake mark, unacked, index, holders, deliveries, crashes, dead,
--           dying, served, claims on the queue; then claims on the other queues
-- ARGV      maximum of messages, how many of them are kept for bulk, maximum of deliveries, node name, other servers at the
--           peek (-1: model is resident), name of the queue, its task
-- reads     queue, unacked, holders, crashes, claims
-- writes    queue, wake, unacked, index, holders, deliveries, crashes, dead, dying, served, claims
-- returns   the messages, each as a list of tag, task id, number of the delivery, retries, seconds to wait, seconds since
--           it was published (0: unknown), 1 if it must run alone, lane; how many became dead letters; letters dropped from
--           the full list
local bulk, interactive, wake, unacked, index, holders, deliveries, crashes, dead, dying, served, claims = unpack(KEYS)
local books = {unacked, index, holders, deliveries, crashes}
local FIXED = 12  -- keys before the claims on the other queues
local BURIED_MOST = 100  -- dead letters of one call: the list drops as many
local BURIED_FIRST = 50  -- of the interactive lane, so that a flood there does not keep bulk from being taken
local TURNED_MOST = 100  -- messages that go to the end of a lane in one call
local LARGEST_BYTES, SHOWN_BYTES = 65536, 4096  -- of a message; ours have under 1 KB, those of 0.1 had under 8 KB
local most, kept, limit, box, others = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local name, task = ARGV[6], ARGV[7]
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local taken, buried, turned, full = {}, 0, 0, false
if others >= 0 and claim(claims, box, nil, now) > others then return {taken, buried, {}} end
local function number(value, largest)  -- as text, because Redis cuts numbers to integers; NaN is not within bounds
  return string.format('%.17g', type(value) == 'number' and value >= 0 and value <= largest and value or 0)
end
local function read(raw)
  assert(#raw <= LARGEST_BYTES)
  local message = cjson.decode(raw)
  local head, props = message.headers, message.properties
  local tag, id = props.delivery_tag, head.id
  assert(type(tag) == 'string' and #tag <= 100 and tag:find('^[%w_.-]+$'))
  assert(type(id) == 'string' and head.task == task)
  local job = id:match('^([%w_.-]+)%.' .. name .. '$')
  assert(job and #job <= 64)
  local alone = props.delivery_info and props.delivery_info.redelivered == true
  return tag, {tag, id, 0, number(head.retries, 1000), number(head.delay_s, 86400),
               number(type(head.sent_at) == 'number' and now - head.sent_at, now), alone and '1' or '0'}
end
local function bury(raw)
  redis.call('LPUSH', dead, cjson.encode({raw = raw:sub(1, SHOWN_BYTES), why = 'malformed', queue = name, at = now, box = box}))
  buried = buried + 1
end
local function end_of(raw, tag, count)
  local letter = cjson.encode({raw = raw, why = 'too-many-deliveries', queue = name, at = now,
                               box = redis.call('HGET', holders, tag) or '', deliveries = count - 1,
                               error = redis.call('HGET', crashes, tag) or 'the worker died'})
  redis.call('LPUSH', dead, letter)
  redis.call('LPUSH', dying, letter)
  strike(books, tag)
  buried = buried + 1
end
-- Takes from a lane until there are `upto` messages; `booked` is what an entry of the unacknowledged hash calls it.
local function fill(lane, booked, upto, buried_most)
  local before, turns = #taken, math.min(TURNED_MOST, redis.call('LLEN', lane))
  while not full and #taken < upto and buried < buried_most and turns > 0 do
    local raw = redis.call('LINDEX', lane, -1)
    if not raw then break end
    local ok, tag, row = pcall(read, raw)
    local count = ok and (tonumber(redis.call('HGET', deliveries, tag)) or 0) + 1
    local held = ok and redis.call('HGET', unacked, tag)
    if not ok then
      bury(raw)
    elseif held then
      turns = turns - 1
      if held:sub(-#raw) ~= raw then  -- a copy may be of either lane
        redis.call('LPUSH', lane, raw)
        turned = turned + 1
      end
    elseif count > limit then
      end_of(raw, tag, count)
    else
      if count > 1 or redis.call('HGET', crashes, tag) == 'put off' then row[7] = '1' end
      full = row[7] == '1' or row[4] ~= '0'  -- redelivered and retried messages run alone
      if full and #taken > 0 then break end
      redis.call('HSET', unacked, tag, booked .. ' ' .. raw)
      redis.call('ZADD', index, now, tag)
      redis.call('HSET', holders, tag, box)
      redis.call('HSET', deliveries, tag, count)
      row[3], row[8] = tostring(count), lane == bulk and 'bulk' or 'interactive'
      taken[#taken + 1] = row
    end
    redis.call('RPOP', lane)
  end
  if #taken > before then redis.call('HSET', served, lane, string.format('%.6f', now)) end
end
if kept > 0 then fill(bulk, name, kept, BURIED_FIRST) end
fill(interactive, name .. ':interactive', most, BURIED_FIRST)
fill(bulk, name, most, BURIED_MOST)
if redis.call('EXISTS', bulk, interactive) > 0 and (#taken > 0 or turned == 0) then
  redis.call('ZADD', wake, 0, 'work')  -- for the next idle worker
end
if #taken > 0 then
  if others >= 0 then
    claim(claims, box, '1', now)
    for i = FIXED + 1, #KEYS do claim(KEYS[i], box, '0', now) end  -- the next peek restores claims still valid
  end
end
return {taken, buried, buried > 0 and forget(dead) or {}}
