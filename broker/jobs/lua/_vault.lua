-- Included: what the vault keeps for a job. An entry has the name of its key without the system's prefix, which has no
-- colon.
local function audio_of(id) return 'vault:' .. redis.sha1hex(id) end
local function name_of(key) return key:match('^[^:]*:(.*)$') end
local function stays(leaving, ended, name)  -- until the end of a job
  redis.call('ZREM', leaving, name)
  redis.call('ZREM', ended, name)
end
local function leaves(sizes, leaving, ended, name, keep_ms)
  if redis.call('HEXISTS', sizes, name) == 0 then return end
  local clock = redis.call('TIME')
  local gone = clock[1] + clock[2] / 1e6 + keep_ms / 1000
  redis.call('ZADD', leaving, gone, name)
  redis.call('ZADD', ended, gone, name)
end
