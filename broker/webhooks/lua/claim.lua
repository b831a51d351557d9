-- Takes messages that are due, the longest due origin first. Each is due again when its lease ends, so that a deliverer
-- that dies loses none.
-- include: _due
--
-- The number of its takes is a fencing token: who was overtaken postpones and buries nothing.
--
-- KEYS      origins
-- ARGV      prefix of the queues, prefix of the messages, number wanted, lease in seconds, messages of one origin at most;
--           then pairs of an origin and its own maximum
-- reads     origins, queues, messages
-- writes    origins, queues, messages
-- returns   {time of the server, {id, take, job, url, body, failed tries, origin} for each message}
local origins = KEYS[1]
local of, prefix, wanted, lease_s, most = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local FIXED = 5  -- arguments before the pairs
local rooms = {}
for i = FIXED + 1, #ARGV, 2 do rooms[ARGV[i]] = tonumber(ARGV[i + 1]) end
local now, taken = now_s(), {}
local named = (#ARGV - FIXED) / 2  -- they may all be due, and full
for _, origin in ipairs(redis.call('ZRANGEBYSCORE', origins, '-inf', written(now), 'LIMIT', 0, wanted + named)) do
  local room, queue = math.min(rooms[origin] or most, wanted - #taken), of .. origin
  if room > 0 then
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', queue, '-inf', written(now), 'LIMIT', 0, room)) do
      local known = redis.call('HMGET', prefix .. id, 'job', 'url', 'body', 'tries')
      if known[1] then
        local take = redis.call('HINCRBY', prefix .. id, 'takes', 1)
        redis.call('ZADD', queue, written(now + lease_s), id)
        taken[#taken + 1] = {id, take, known[1], known[2], known[3], known[4], origin}
      else
        redis.call('ZREM', queue, id)
      end
    end
    reschedule(origins, queue, origin)
  end
end
return {written(now), taken}
