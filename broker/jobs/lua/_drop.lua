-- Included: drops an upload and its booking.
local function drop(total, sizes, leaving, ended, upload, name)
  redis.call('DECRBY', total, redis.call('HGET', sizes, name) or 0)
  redis.call('HDEL', sizes, name)
  redis.call('ZREM', leaving, name)
  redis.call('ZREM', ended, name)
  redis.call('UNLINK', upload)
end
