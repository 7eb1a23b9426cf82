-- Alarms and their outbox:
--   `alarm:ID`    hash: version, record; window and window_version, the look that was accepted last
--   `history:ID`  list of entries, newest first
--   `lane:LANE`   list of rows for one endpoint, the head first; not empty exactly while the lane is in `work`
--   `lanes:ID`    set of an alarm's lanes that are not empty
--   `attempts`    hash: lane -> failed deliveries of its head
--   `waiting`     set of lanes whose head failed and that nobody has claimed since

local function remember(prefix, ask)
  if #ask.history == 0 then
    return
  end
  local key = prefix .. 'history:' .. ask.id
  local newest = redis.call('LINDEX', key, 0)
  if newest and cjson.decode(newest).event_id == ask.last_event then
    return -- said before, by a call whose answer was lost
  end
  in_pieces('LPUSH', key, ask.history)
  redis.call('LTRIM', key, 0, ask.history_entries - 1)
  redis.call('PERSIST', key)
end

-- Whether the only row of a lane is leased to somebody.
local function in_hand(prefix, lane, length, now)
  if length > 1 or redis.call('SISMEMBER', prefix .. 'waiting', lane) == 1 then
    return false
  end
  return (tonumber(redis.call('ZSCORE', prefix .. 'work', 'lane:' .. lane)) or 0) > now
end

local function replaces(prefix, lane, key, length, repeats, now)
  if not repeats or not cjson.decode(redis.call('LINDEX', key, -1))['repeat'] then
    return false
  end
  return not in_hand(prefix, lane, length, now)
end

local function queue(prefix, id, row, now, lease, leased)
  local lane, repeats, json = row[1], row[2], row[3]
  local key = prefix .. 'lane:' .. lane
  local length = redis.call('LLEN', key)
  if length == 0 then
    redis.call('RPUSH', key, json)
    redis.call('SADD', prefix .. 'lanes:' .. id, lane)
    due_at(prefix, 'lane:' .. lane, now + lease)
    leased[#leased + 1] = lane
  elseif replaces(prefix, lane, key, length, repeats, now) then
    redis.call('LSET', key, -1, json)
    if length == 1 then
      redis.call('HDEL', prefix .. 'attempts', lane)
    end
  else
    redis.call('RPUSH', key, json)
  end
end

local ACCEPTED, STALE, RETRY = 0, 1, 2

local function accept(prefix, now, ask, lease)
  local key = prefix .. 'alarm:' .. ask.id
  local known = redis.call('HMGET', key, 'version', 'record', 'window', 'window_version')
  if (known[3] or '') == ask.window and ask.window_version < (tonumber(known[4]) or 0) then
    return {STALE, '', {}}
  end
  if ask.expected ~= (tonumber(known[1]) or 0) then
    return {RETRY, known[2] or '', {}}
  end
  if ask.window ~= '' then
    redis.call('HSET', key, 'window', ask.window, 'window_version', whole_number(ask.window_version))
  end
  if ask.record ~= '' then
    redis.call('HSET', key, 'version', whole_number(ask.version), 'record', ask.record)
  end
  remember(prefix, ask)
  local leased = {}
  for _, row in ipairs(ask.rows) do
    queue(prefix, ask.id, row, now, lease, leased)
  end
  return {ACCEPTED, '', leased}
end

-- Puts verdicts into force, each with its history and actions.
register('accept', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local answers = {}
  for i, acceptance in ipairs(ask[2]) do
    answers[i] = accept(prefix, now, acceptance, ask[1])
  end
  return cmsgpack.pack(answers)
end)

-- Records in the order asked; empty where there is none.
register('alarms', function(keys, args)
  local prefix, _, ids = asked(keys, args)
  local records = {}
  for i, id in ipairs(ids) do
    records[i] = redis.call('HGET', prefix .. 'alarm:' .. id, 'record') or ''
  end
  return cmsgpack.pack(records)
end, {'no-writes'})

-- Drops records; histories end after a while.
register('forget', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  for _, id in ipairs(ask[2]) do
    redis.call('DEL', prefix .. 'alarm:' .. id)
    redis.call('EXPIRE', prefix .. 'history:' .. id, ask[1])
  end
  return ''
end, {'allow-oom'})

-- The head of a lane as a row and its failed deliveries, if there is one.
local function head(prefix, lane)
  local row = redis.call('LINDEX', prefix .. 'lane:' .. lane, 0)
  if not row then
    return {}
  end
  return {row, tonumber(redis.call('HGET', prefix .. 'attempts', lane)) or 0}
end

local function is_head(prefix, lane, id)
  local row = redis.call('LINDEX', prefix .. 'lane:' .. lane, 0)
  return row and cjson.decode(row).id == id
end

register('head', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  return cmsgpack.pack(head(prefix, ask[1]))
end, {'no-writes'})

-- Takes a delivered head away and leases the next row to the caller, unless somebody else has taken over.
register('delivered', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local id, lane, row_id, lease = ask[1], ask[2], ask[3], ask[4]
  if not is_head(prefix, lane, row_id) then
    return cmsgpack.pack({})
  end
  redis.call('LPOP', prefix .. 'lane:' .. lane)
  redis.call('HDEL', prefix .. 'attempts', lane)
  redis.call('SREM', prefix .. 'waiting', lane)
  local following = head(prefix, lane)
  if #following > 0 then
    due_at(prefix, 'lane:' .. lane, now + lease)
  else
    redis.call('ZREM', prefix .. 'work', 'lane:' .. lane)
    redis.call('SREM', prefix .. 'lanes:' .. id, lane)
  end
  return cmsgpack.pack(following)
end, {'allow-oom'})

-- Counts a failed delivery and makes the lane due for the next try, unless somebody else has taken over.
register('undelivered', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local lane, row_id, retry_at, tried = ask[1], ask[2], ask[3], ask[4]
  if is_head(prefix, lane, row_id) then
    redis.call('HINCRBY', prefix .. 'attempts', lane, tried)
    redis.call('SADD', prefix .. 'waiting', lane)
    due_at(prefix, 'lane:' .. lane, retry_at)
  end
  return ''
end)

-- Each lane of an alarm that is not empty, and how many rows wait in it.
register('lanes', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local names, lengths = redis.call('SMEMBERS', prefix .. 'lanes:' .. ask[1]), {}
  for i, lane in ipairs(names) do
    lengths[i] = redis.call('LLEN', prefix .. 'lane:' .. lane)
  end
  return cmsgpack.pack({names, lengths})
end, {'no-writes'})
