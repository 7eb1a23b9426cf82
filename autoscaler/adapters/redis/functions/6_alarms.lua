-- Alarms and their outbox:
--   `alarm:ID`    hash: version, record; the definition, where it was made through the API; for each window that was
--                 looked at `window:W`, the version of the look that was accepted last and when that was; how often it was
--                 evaluated to a state as `tally:STATE`
--   `lane:LANE`   list of rows for one endpoint, the head first; not empty exactly while the lane is in `work`
--   `lanes:ID`    set of an alarm's lanes that are not empty
--   `attempts`    hash: lane -> failed deliveries of its head
--   `revived:T`   there for a while after a row was put into its lane once more, by token T
--   `waiting`     set of lanes whose head failed and that nobody has claimed since

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

-- An alarm whose rule is changed again and again looks at ever new windows. What it noted of one is of no use once no
-- evaluation can be under way that began before.
local NOTED, NOTED_FOR = 64, 3600

local function forget_old_looks(key, now)
  local fields, old = redis.call('HGETALL', key), {}
  for i = 1, #fields, 2 do
    if string.sub(fields[i], 1, 7) == 'window:' and tonumber(string.match(fields[i + 1], '%S+$')) <= now - NOTED_FOR then
      old[#old + 1] = fields[i]
    end
  end
  in_pieces('HDEL', key, old)
end

-- Version and record as stored, and whether a newer look at one of the windows was accepted before.
local function stored_alarm(key, ask)
  local fields = {'version', 'record'}
  for i, look in ipairs(ask.looks) do
    fields[i + 2] = 'window:' .. look[1]
  end
  local known, stale = redis.call('HMGET', key, unpack(fields)), false
  for i, look in ipairs(ask.looks) do
    local noted = known[i + 2]
    stale = stale or (noted and look[2] < tonumber(string.match(noted, '^%S+')))
  end
  return tonumber(known[1]) or 0, known[2] or '', stale
end

local function put_in_force(prefix, key, now, ask, limits)
  local fields = {}
  local function set(field, value)
    fields[#fields + 1], fields[#fields + 2] = field, value
  end
  for _, look in ipairs(ask.looks) do
    set('window:' .. look[1], whole_number(look[2]) .. ' ' .. whole_number(now))
  end
  if ask.record ~= '' then
    set('version', whole_number(ask.version))
    set('record', ask.record)
  end
  if ask.definition ~= '' then
    set('definition', ask.definition)
    redis.call('ZADD', prefix .. 'defined', 0, ask.id)
    changed(prefix, ask.id, now, limits.changes)
  end
  if #fields > 0 and redis.call('HSET', key, unpack(fields)) > 0 and redis.call('HLEN', key) > NOTED then
    forget_old_looks(key, now)
  end
end

-- Why a verdict is not put in force that was made of a record at the expected version; nothing where it is.
local function refusal(stale, expected, version)
  if stale then
    return STALE
  end
  if expected ~= version then
    return RETRY
  end
end

local function accept(prefix, now, ask, lease, limits)
  local key = prefix .. 'alarm:' .. ask.id
  local version, record, stale = stored_alarm(key, ask)
  local refused = refusal(stale, ask.expected, version)
  if refused then
    return {refused, refused == RETRY and record or '', {}}
  end
  if ask.removed then
    redis.call('DEL', key)
    redis.call('ZREM', prefix .. 'defined', ask.id)
    changed(prefix, ask.id, now, limits.changes)
  else
    put_in_force(prefix, key, now, ask, limits)
  end
  remember(prefix, now, ask, limits)
  local leased = {}
  for _, row in ipairs(ask.rows) do
    queue(prefix, ask.id, row, now, lease, leased)
  end
  return {ACCEPTED, '', leased}
end

-- Puts verdicts into force, each with its history, actions and definition.
register('accept', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local lease, limits, answers = ask[1], ask[2], {}
  for i, acceptance in ipairs(ask[3]) do
    answers[i] = accept(prefix, now, acceptance, lease, limits)
  end
  return cmsgpack.pack(answers)
end)

-- {ids, expected versions, windows, their versions}: notes looks at one window each that change nothing. Answers those
-- that are not in force: {place, why, record}.
register('note', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local expected, windows, versions, at, answers = ask[2], ask[3], ask[4], ' ' .. whole_number(now), {}
  for i, id in ipairs(ask[1]) do
    local key, field = prefix .. 'alarm:' .. id, 'window:' .. windows[i]
    local known = redis.call('HMGET', key, 'version', field)
    local stale = known[2] and versions[i] < tonumber(string.match(known[2], '^%S+'))
    local refused = refusal(stale, expected[i], tonumber(known[1]) or 0)
    if refused then
      answers[#answers + 1] = {i, refused, refused == RETRY and redis.call('HGET', key, 'record') or ''}
    elseif redis.call('HSET', key, field, whole_number(versions[i]) .. at) > 0 and redis.call('HLEN', key) > NOTED then
      forget_old_looks(key, now)
    end
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

-- Drops what is stored of alarms, but not of those that were made through the API.
register('forget', function(keys, args)
  local prefix, _, ids = asked(keys, args)
  for _, id in ipairs(ids) do
    if redis.call('HEXISTS', prefix .. 'alarm:' .. id, 'definition') == 0 then
      redis.call('DEL', prefix .. 'alarm:' .. id)
    end
  end
  return ''
end, {'allow-oom'})

-- Each {id, state -> times}: counts evaluations, where there is a record to count for.
register('tally', function(keys, args)
  local prefix, _, asks = asked(keys, args)
  for _, ask in ipairs(asks) do
    local key = prefix .. 'alarm:' .. ask[1]
    if redis.call('HEXISTS', key, 'record') == 1 then
      for state, times in pairs(ask[2]) do
        redis.call('HINCRBY', key, 'tally:' .. state, whole_number(times))
      end
    end
  end
  return ''
end)

-- How often each alarm was evaluated to each of the states, in the orders asked.
register('tallies', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local fields, answers = {}, {}
  for i, state in ipairs(ask[1]) do
    fields[i] = 'tally:' .. state
  end
  for i, id in ipairs(ask[2]) do
    local counts = redis.call('HMGET', prefix .. 'alarm:' .. id, unpack(fields))
    for j = 1, #fields do
      counts[j] = tonumber(counts[j] or 0)
    end
    answers[i] = counts
  end
  return cmsgpack.pack(answers)
end, {'no-writes'})

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

-- Puts a row at the end of its lane once more, once for each token: whether it was, and the lane where it was empty.
register('revive', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local id, row, token, remembered, lease = ask[1], ask[2], ask[3], ask[4], ask[5]
  local leased = {}
  if not redis.call('SET', prefix .. 'revived:' .. token, 1, 'NX', 'EX', whole_number(remembered)) then
    return cmsgpack.pack({false, leased})
  end
  queue(prefix, id, row, now, lease, leased)
  return cmsgpack.pack({true, leased})
end)

-- Counts a failed delivery and makes the lane due for the next try, unless somebody else has taken over, or may have.
register('undelivered', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local lane, row_id, retry_at, tried, leased_until = ask[1], ask[2], ask[3], ask[4], ask[5]
  if now <= leased_until and is_head(prefix, lane, row_id) then
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
