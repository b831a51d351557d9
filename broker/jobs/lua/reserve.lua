-- Reserves vault space for a job's audio; drops expired audio and, if space is short, that of ended jobs: at most 100
-- entries in one call.
--
-- KEYS      vault total, vault sizes, vault leaving, vault ended
-- ARGV      hash of the job id, bytes, limit, expiry of an unpublished entry in seconds, prefix of the audio keys
-- reads     all keys
-- writes    all keys, and the dropped audio
-- returns   1; 0 if there is no space; -1 if there may be space once more entries are dropped: call again
local total, sizes, leaving, ended = unpack(KEYS)
local job, need, limit, unclaimed_s, prefix = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4], ARGV[5]
local MOST = 100  -- entries dropped by one call
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1e6
local function drop(hash)
  redis.call('DECRBY', total, redis.call('HGET', sizes, hash) or 0)
  redis.call('HDEL', sizes, hash)
  redis.call('ZREM', leaving, hash)
  redis.call('ZREM', ended, hash)
  redis.call('UNLINK', prefix .. hash)
end
local expired = redis.call('ZRANGEBYSCORE', leaving, '-inf', now, 'LIMIT', 0, MOST)
for _, hash in ipairs(expired) do drop(hash) end
local room = MOST - #expired  -- for more drops
local booked = tonumber(redis.call('HGET', sizes, job) or 0)  -- by an earlier try under this id: its bytes stay
while tonumber(redis.call('GET', total) or 0) + need - booked > limit do
  if room == 0 then return -1 end
  local oldest = redis.call('ZRANGE', ended, 0, 0)[1]
  if not oldest then return 0 end
  drop(oldest)
  room = room - 1
end
redis.call('INCRBY', total, need - booked)
redis.call('HSET', sizes, job, need)
redis.call('ZADD', leaving, now + unclaimed_s, job)
return 1
