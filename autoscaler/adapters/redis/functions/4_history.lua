-- What happened to alarms, for as long as `history_ttl` says:
--   `history:ID`                      list of entries, newest first
--   `histories`, `histories:PROJECT`  sorted sets of alarms by the time of their newest entry, and on whose behalf
-- All of them end by themselves, that long after the last entry.

local function index(key, id, newest, oldest, ttl)
  redis.call('ZADD', key, 'GT', exact(newest), id)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', exact(oldest))
  redis.call('PEXPIRE', key, ttl)
end

-- Adds the entries of `ask` and takes those out that are too old or too many.
local function remember(prefix, now, ask, limits)
  if #ask.history == 0 then
    return
  end
  local key = prefix .. 'history:' .. ask.id
  local newest = redis.call('LINDEX', key, 0)
  if newest and cjson.decode(newest).event_id == ask.last_event then
    return -- said before, by a call whose answer was lost
  end
  in_pieces('LPUSH', key, ask.history)
  redis.call('LTRIM', key, 0, limits.history_entries - 1)
  local oldest, ttl = now - limits.history_ttl, whole_number(limits.history_ttl * 1000)
  local last = redis.call('LINDEX', key, -1)
  while last and cjson.decode(last).timestamp <= oldest do
    redis.call('RPOP', key)
    last = redis.call('LINDEX', key, -1)
  end
  redis.call('PEXPIRE', key, ttl)
  index(prefix .. 'histories', ask.id, ask.newest, oldest, ttl)
  for _, project in ipairs(ask.projects) do
    index(prefix .. 'histories:' .. project, ask.id, ask.newest, oldest, ttl)
  end
end

-- The newest entries of an alarm, and the time.
register('history', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  return cmsgpack.pack({now, redis.call('LRANGE', prefix .. 'history:' .. ask[1], 0, ask[2] - 1)})
end, {'no-writes'})

-- The alarms of one project, or of all, that have an entry of the last so many seconds.
register('histories', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local key = prefix .. 'histories'
  if ask[1][1] then
    key = key .. ':' .. ask[1][1]
  end
  return cmsgpack.pack(redis.call('ZRANGEBYSCORE', key, '(' .. exact(now - ask[2]), '+inf'))
end, {'no-writes'})
