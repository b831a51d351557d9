-- Takes messages that are due. Each is due again when its lease ends, so that a deliverer that dies loses none.
-- include: _due
--
-- First come the origins that are named: those that answer. Of the others, the longest due comes first; however many of
-- them hang, they take no more than their part. The number of its takes is a fencing token: who was overtaken postpones
-- and buries nothing.
--
-- KEYS      origins
-- ARGV      prefix of the queues, prefix of the messages, lease in seconds, number wanted in all, of named origins, of
--           others, of each of the others; then pairs of an origin and the number wanted of it
-- reads     origins, queues, messages
-- writes    origins, queues, messages
-- returns   {time of the server, {id, take, job, url, body, failed tries, origin} for each message}
local origins = KEYS[1]
local of, prefix, lease_s, free, of_named, of_others, each = unpack(ARGV)
local FIXED = 7  -- arguments before the pairs
free, of_named, of_others, each = tonumber(free), tonumber(of_named), tonumber(of_others), tonumber(each)
local now, taken = now_s(), {}
local function take(origin, most)
  local queue, before = of .. origin, #taken
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', written(now), 'LIMIT', 0, most)) do
    local known = redis.call('HMGET', prefix .. id, 'job', 'url', 'body', 'tries')
    if known[1] then
      local number = redis.call('HINCRBY', prefix .. id, 'takes', 1)
      redis.call('ZADD', queue, written(now + lease_s), id)
      taken[#taken + 1] = {id, number, known[1], known[2], known[3], known[4], origin}
    else
      redis.call('ZREM', queue, id)
    end
  end
  reschedule(origins, queue, origin)
  return #taken - before
end
local named, count = {}, 0
for i = FIXED + 1, #ARGV, 2 do
  local origin, most = ARGV[i], math.min(tonumber(ARGV[i + 1]), of_named, free)
  named[origin], count = true, count + 1
  if most > 0 and redis.call('ZSCORE', origins, origin) then
    local got = take(origin, most)
    of_named, free = of_named - got, free - got
  end
end
of_others = math.min(of_others, free)
if of_others > 0 then
  -- the named ones may all be among those that are due
  for _, origin in ipairs(redis.call('ZRANGEBYSCORE', origins, '-inf', written(now), 'LIMIT', 0, of_others + count)) do
    local most = math.min(each, of_others)
    if most > 0 and not named[origin] then of_others = of_others - take(origin, most) end
  end
end
return {written(now), taken}
