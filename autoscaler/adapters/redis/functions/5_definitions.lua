-- Alarms made through the API; the definition itself is in the alarm's hash:
--   `defined`  sorted set of the alarms that have one, all with the same score, so that they come in order of their ids
--   `changes`  stream of what was changed: alarm and time, numbered 1-0, 2-0, … without gaps
-- A position in a shard's stream is the number of an entry and its time: after a server has lost its last second another
-- entry may bear the number.

local function number_of(entry)
  return tonumber(string.match(entry[1], '^%d+'))
end

local function alarm_and_time(entry)
  return entry[2][2], entry[2][4]
end

local function entry_id(number)
  return whole_number(number) .. '-0'
end

-- Number and time of the newest entry.
local function newest_change(key)
  local entry = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
  if not entry then
    return 0, ''
  end
  local _, time = alarm_and_time(entry)
  return number_of(entry), time
end

local function changed(prefix, id, now, at_most)
  local key = prefix .. 'changes'
  redis.call('XADD', key, 'MAXLEN', '=', at_most, entry_id(newest_change(key) + 1), 'alarm', id, 'time', exact(now))
end

-- Whether what follows a position is all that was changed since.
local function is_unbroken(key, number, time)
  local first = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
  if not first or number > newest_change(key) then
    return not first and number == 0
  end
  if number_of(first) > number + 1 then
    return false
  end
  local present = redis.call('XRANGE', key, entry_id(number), entry_id(number))[1]
  return not present or select(2, alarm_and_time(present)) == time
end

-- Where the stream ends.
register('position', function(keys)
  return cmsgpack.pack({newest_change(keys[1] .. 'changes')})
end, {'no-writes'})

-- Alarms changed since some seconds ago, some at a time, going back from before a number; where to go on, if anywhere.
register('recent', function(keys, args)
  local prefix, now, ask = asked(keys, args)
  local before, seconds, limit = ask[1][1], ask[2], ask[3]
  local last = before and '(' .. entry_id(before) or '+'
  local entries, ids = redis.call('XREVRANGE', prefix .. 'changes', last, '-', 'COUNT', limit), {}
  for _, entry in ipairs(entries) do
    local id, time = alarm_and_time(entry)
    if tonumber(time) <= now - seconds then
      return cmsgpack.pack({ids, {}})
    end
    ids[#ids + 1] = id
  end
  return cmsgpack.pack({ids, #entries == limit and {number_of(entries[#entries])} or {}})
end, {'no-writes'})

-- Definitions in order of their ids, some at a time, from after an id.
register('defined', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local after, limit = ask[1], ask[2]
  local from = after == '' and '-' or '(' .. after
  local ids, definitions = redis.call('ZRANGEBYLEX', prefix .. 'defined', from, '+', 'LIMIT', 0, limit), {}
  for i, id in ipairs(ids) do
    definitions[i] = redis.call('HGET', prefix .. 'alarm:' .. id, 'definition') or ''
  end
  return cmsgpack.pack({ids, definitions})
end, {'no-writes'})

-- What was changed since a position, at most so many changes: whether that is all of it, the position after it, and the
-- alarms with their definitions as they are now, empty where there is none.
register('changes', function(keys, args)
  local prefix, _, ask = asked(keys, args)
  local number, time, limit = ask[1], ask[2], ask[3]
  local key, ids, definitions, seen = prefix .. 'changes', {}, {}, {}
  if not is_unbroken(key, number, time) then
    return cmsgpack.pack({false, number, time, ids, definitions})
  end
  local id
  for _, entry in ipairs(redis.call('XRANGE', key, '(' .. entry_id(number), '+', 'COUNT', limit)) do
    number = number_of(entry)
    id, time = alarm_and_time(entry)
    if not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
      definitions[#ids] = redis.call('HGET', prefix .. 'alarm:' .. id, 'definition') or ''
    end
  end
  return cmsgpack.pack({true, number, time, ids, definitions})
end, {'no-writes'})
